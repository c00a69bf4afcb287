"""The stage from a trained model to one `.tflite` file."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import tensorflow as tf

from ser_nsl.audio import read_batches
from ser_nsl.corpora.manifest import audio_paths, read_manifest, training_data_note
from ser_nsl.downstream.saved import load_model
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.convert import Form, operators, to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.export.parity import compare
from ser_nsl.export.report import describe_ends, describe_form, write_report
from ser_nsl.features import Description
from ser_nsl.frontend import log_mel
from ser_nsl.quantized_training import tuned_for_int8
from ser_nsl.records import UNLABELLED
from ser_nsl.stage import stage

_BATCH = 16
_EXAMPLES = 200  # training clips by which the ranges of 8 bits are chosen


@stage(inputs=("model_dir", "manifest", "audio_dir"), makes="file")
def export_tflite(
    *,
    model_dir: Path,
    manifest: Path,
    out: Path,
    quantization: Form = "float32",
    tune_epochs: int = 0,
    force: bool = False,
    audio_dir: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    name: str = "Speech emotion recogniser",
    model_version: str = "1",
    author: str = "",
    licence: str | None = None,
) -> Mapping[str, Any]:
    """Makes one `.tflite` file for apps: raw audio in, labelled probabilities out.

    The front end, the network and a softmax are inside, sample rate and labels stand in the
    metadata. All four forms are made and run on the clips of a split, and `export_report.json`
    beside the file says how far each is from Keras. The form asked for is refused if it breaks a
    bound: float32 may differ in a probability by 1e-4, float16 by 1e-2 and neither in a label;
    dynamic and int8 may lose half a point of UAR.

    Args:
        model_dir: Folder of a trained model.
        manifest: The clips to run it on.
        out: The `.tflite` file.
        quantization: How the network's numbers are kept: `float32`; `float16`, half the size;
            `dynamic`, weights in 8 bits, a quarter; `int8`, activations too, which is fastest. The
            front end keeps its 32 bits. Input and output are float32 in any case.
        tune_epochs: For int8: train a copy so many epochs with the rounding of 8 bits before, for
            networks that lose too much without.
        force: Keep a file that breaks a bound; the report says so.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        split: Which clips to run; int8 is fitted to those of the training split in any case.
        name: Name of the recogniser, in its metadata.
        model_version: Version of the recogniser, in its metadata.
        author: Who made it, in its metadata.
        licence: What apps must heed, in its metadata; by default that of the target corpus.

    Returns:
        Size, operators, number of clips, largest and mean difference from Keras, share of clips
        with the same top label, and UAR.

    Raises:
        InputError: If the model needs the upstream (methods add, max, avg) or operators that
            are not built in, a split has no clip, training for int8 is not possible, or the file
            breaks a bound.
    """
    if tune_epochs < 0:
        raise InputError(f"tune_epochs: must be 0 or more; received {tune_epochs}.")
    model, description = load_model(model_dir)
    if len(model.inputs) != 1:
        raise InputError(
            f"{model_dir}: a model of the methods add, max and avg needs the upstream's "
            "embedding at prediction time, so it cannot be exported; received the inputs "
            f"{', '.join(model.input_names)}. Train with the method nsl or base."
        )
    table = read_manifest(manifest)
    tested = _clips_of(table, split, manifest)
    card = Card(
        name,
        model_version,
        description.classes,
        description.front_end.sample_rate_hz,
        description.clip_samples,
        author,
        training_data_note(table) if licence is None else licence,
    )
    heard = _Heard(manifest, audio_dir, description)
    training = _clips_of(table, "train", manifest)
    if tune_epochs:
        training = training[_labels(training, description) != UNLABELLED]
    else:
        training = training.iloc[:: -(-len(training) // _EXAMPLES)]
    logmels = heard.logmels(training)
    flatbuffers = {form: to_tflite(model, description, form, logmels) for form in get_args(Form)}
    if tune_epochs:
        labels = _labels(training, description)
        flatbuffers["int8"] = tuned_for_int8(model_dir, logmels, labels, epochs=tune_epochs)
    files = {form: add_metadata(each, card) for form, each in flatbuffers.items()}
    labels = _labels(tested, description)
    with tempfile.TemporaryDirectory() as folder:
        recognizers = {}
        for form, content in files.items():
            path = Path(folder) / f"{form}.tflite"
            path.write_bytes(content)
            recognizers[form] = Recognizer(path)
        parities = compare(recognizers, model, description, heard.batches(tested), labels)
    forms = {
        form: describe_form(form, files[form], operators(flatbuffers[form]), parity)
        for form, parity in parities.items()
    }
    chosen = forms[quantization]
    if chosen["broken_bounds"] and not force:
        advice = "force it, or replace the layer that TFLite computes differently"
        if quantization == "int8":
            advice = "train it for int8 with --tune-epochs 3, choose dynamic, or force it"
        raise InputError(
            f"{model_dir}: as {quantization}, {'; '.join(chosen['broken_bounds'])} "
            f"({len(tested)} clips); the file is not written. To go on, {advice}."
        )
    out.write_bytes(files[quantization])
    report = {
        "quantization": quantization,
        "forced": bool(chosen["broken_bounds"]),
        "tune_epochs": tune_epochs,
        "split": split,
        "clips": len(tested),
        "labelled": int((labels != UNLABELLED).sum()),
        **describe_ends(card),
        "forms": forms,
    }
    write_report(report, out.parent)
    told = ("bytes", "operators", "largest_difference", "mean_difference", "label_agreement", "uar")
    return {"form": quantization, "clips": len(tested), **{key: chosen[key] for key in told}}


class _Heard:
    """Clips as the recogniser hears them."""

    def __init__(self, manifest: Path, audio_dir: Path | None, description: Description) -> None:
        self._place, self._description = (manifest, audio_dir), description

    def batches(self, clips: pd.DataFrame) -> Iterator[np.ndarray]:
        """Waveforms, float32, shape `(batch, clip_samples)`."""
        return read_batches(
            audio_paths(clips, *self._place),
            self._description.clip_samples,
            batch=_BATCH,
            sample_rate_hz=self._description.front_end.sample_rate_hz,
        )

    def logmels(self, clips: pd.DataFrame) -> np.ndarray:
        """Log Mel in dB, float32, shape `(clips, frames, mels)`."""
        front_end = self._description.front_end
        batches = self.batches(clips)
        return np.concatenate([log_mel(tf.constant(each), front_end) for each in batches])


def _clips_of(table: pd.DataFrame, split: str, manifest: Path) -> pd.DataFrame:
    clips = table[table["split"] == split]
    if clips.empty:
        raise InputError(f"{manifest}: the split {split} has no clip; choose another with --split.")
    return clips


def _labels(clips: pd.DataFrame, description: Description) -> np.ndarray:
    """Index of each clip's class; -1 for none and for emotions that the model does not know."""
    numbers = {name: number for number, name in enumerate(description.classes)}
    return np.array([numbers.get(emotion, UNLABELLED) for emotion in clips["emotion"]])
