"""The stage from a trained model to one `.tflite` file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ser_nsl.audio import read_batches
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.downstream.saved import load_model
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.convert import operators, to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.export.parity import compare
from ser_nsl.stage import stage

LARGEST_DIFFERENCE = 1e-4
"""By which a probability of the exported file may differ from Keras's."""

_BATCH = 16


@stage(inputs=("model_dir", "manifest", "audio_dir"), makes="file")
def export_tflite(
    *,
    model_dir: Path,
    manifest: Path,
    out: Path,
    audio_dir: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    max_clips: int = 64,
    name: str = "Speech emotion recogniser",
    model_version: str = "1",
) -> Mapping[str, Any]:
    """Makes one `.tflite` file for apps: raw audio in, labelled probabilities out.

    The front end, the network and a softmax are inside, sample rate and labels stand in the
    metadata. The file is then run on clips and refused if any probability differs from Keras's
    by more than 1e-4.

    Args:
        model_dir: Folder of a trained model.
        manifest: The clips to run it on.
        out: The `.tflite` file.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        split: Which clips.
        max_clips: Most clips to run, spread evenly over the split.
        name: Name of the recogniser, in its metadata.
        model_version: Version of the recogniser, in its metadata.

    Returns:
        Size, operators, number of clips, largest and mean difference from Keras, and share of
        clips with the same top label.

    Raises:
        InputError: If the model needs the upstream (methods add, max, avg) or operators that
            are not built in, the split has no clip, or the file differs from Keras.
    """
    model, description = load_model(model_dir)
    if len(model.inputs) != 1:
        raise InputError(
            f"{model_dir}: a model of the methods add, max and avg needs the upstream's "
            "embedding at prediction time, so it cannot be exported; received the inputs "
            f"{', '.join(model.input_names)}. Train with the method nsl or base."
        )
    paths = _choose_clips(manifest, audio_dir, split, max_clips)
    flatbuffer = to_tflite(model, description)
    card = Card(
        name,
        model_version,
        description.classes,
        description.front_end.sample_rate_hz,
        description.clip_samples,
    )
    out.write_bytes(add_metadata(flatbuffer, card))
    waveforms = read_batches(
        paths,
        description.clip_samples,
        batch=_BATCH,
        sample_rate_hz=description.front_end.sample_rate_hz,
    )
    parity = compare(Recognizer(out), model, description, waveforms)
    if not parity.largest <= LARGEST_DIFFERENCE:  # also when it is NaN
        raise InputError(
            f"{model_dir}: a probability of the exported file differs from Keras's by "
            f"{parity.largest:.1e} ({parity.clips} clips), allowed is {LARGEST_DIFFERENCE:g}; "
            "the file is not written. Replace the layer that TFLite computes differently."
        )
    return {
        "bytes": out.stat().st_size,
        "operators": operators(flatbuffer),
        "clips": parity.clips,
        "largest_difference": float(f"{parity.largest:.2e}"),
        "mean_difference": float(f"{parity.mean:.2e}"),
        "label_agreement": parity.agreement,
    }


def _choose_clips(manifest: Path, audio_dir: Path | None, split: str, max_clips: int) -> list[Path]:
    """Clips of a split, evenly spread over its rows."""
    if max_clips < 1:
        raise InputError(f"max_clips: must be at least 1; received {max_clips}.")
    table = read_manifest(manifest)
    table = table[table["split"] == split]
    if table.empty:
        raise InputError(f"{manifest}: the split {split} has no clip; choose another with --split.")
    step = -(-len(table) // max_clips)
    return audio_paths(table.iloc[::step], manifest, audio_dir)
