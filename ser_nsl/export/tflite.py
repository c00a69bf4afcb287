"""The stage from a trained model to one `.tflite` file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ser_nsl.audio.features import Description
from ser_nsl.corpora.manifest import read_manifest, training_data_note
from ser_nsl.errors import InputError
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import Form
from ser_nsl.export.forms import make_forms
from ser_nsl.export.metadata import Card
from ser_nsl.export.summary import describe_ends, write_report
from ser_nsl.pipeline.stage import stage


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
            `dynamic`, weights in 8 bits, a quarter; `int8`, activations too. The last two are fast
            under LiteRT, slow under tflite-runtime. The front end keeps its 32 bits. Input and
            output are float32 in any case.
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
    description = Description.load(model_dir)
    card = Card(
        name,
        model_version,
        description.classes,
        description.front_end.sample_rate_hz,
        description.clip_samples,
        author,
        training_data_note(read_manifest(manifest)) if licence is None else licence,
    )
    tested = Clips.of_split(split, manifest, audio_dir, description)
    forms = make_forms(
        model_dir,
        card,
        training=Clips.of_split("train", manifest, audio_dir, description),
        tested=tested,
        tune_epochs=tune_epochs,
    )
    chosen = forms[quantization].report
    if chosen["broken_bounds"] and not force:
        advice = "force it, or replace the layer that TFLite computes differently"
        if quantization == "int8":
            advice = "train it for int8 with --tune-epochs 3, choose dynamic, or force it"
        raise InputError(
            f"{model_dir}: as {quantization}, {'; '.join(chosen['broken_bounds'])} "
            f"({len(tested)} clips); the file is not written. To go on, {advice}."
        )
    out.write_bytes(forms[quantization].content)
    report = {
        "quantization": quantization,
        "forced": bool(chosen["broken_bounds"]),
        "tune_epochs": tune_epochs,
        "split": split,
        "clips": len(tested),
        "labelled": len(tested.labelled),
        **describe_ends(card),
        "forms": {form: each.report for form, each in forms.items()},
    }
    write_report(report, out.parent)
    told = ("bytes", "operators", "largest_difference", "mean_difference", "label_agreement")
    return {
        "form": quantization,
        "clips": len(tested),
        **{key: chosen[key] for key in told},
        **({} if chosen["uar"] is None else {"uar": f"{chosen['uar']:.1%}"}),
    }
