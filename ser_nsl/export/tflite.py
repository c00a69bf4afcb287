"""The stage from a trained model to one `.tflite` file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.audio.features import Description
from ser_nsl.corpora.manifest import read_manifest, training_data_note
from ser_nsl.errors import InputError
from ser_nsl.export.result import REPORT_NAME, with_table
from ser_nsl.export.settings import Form
from ser_nsl.pipeline.stage import stage

_COUNTED = ("bytes", "operators", "largest_difference", "mean_difference", "label_agreement")


@with_table
@stage(inputs=("model_dir", "manifest", "audio_dir", "speech"), makes="file")
def export_tflite(
    *,
    model_dir: Path,
    manifest: Path,
    out: Path,
    quantization: Form = "float32",
    force: bool = False,
    audio_dir: Path | None = None,
    speech: tuple[Path, ...] = (),
    name: str = "Speech emotion recogniser",
    model_version: str = "1",
    author: str = "",
    licence: str | None = None,
) -> Mapping[str, Any]:
    """Makes one `.tflite` file for apps: raw audio in, labelled probabilities out.

    The front end, the network and a softmax are inside; the metadata hold sample rate and labels.
    So is a detector of speech, which has learned the training clips, other speech if there is any,
    and synthetic sounds that are not speech: the last label is `no speech`. The softmax has the
    temperature at which the emotions of the validation clips, as they are and damaged, are most
    probable.

    All four forms are made and run on the validation clips, or on those of training where there
    are none, since test clips must not choose a form. `export_report.json` beside the file says
    how far each is from Keras. The requested form is refused if it breaks a bound: a
    probability may differ by 1e-4 in float32 and by 1e-2 in float16, and no label may differ in
    either; dynamic and int8 may lose half a point of UAR.

    Args:
        model_dir: Folder of a trained model.
        manifest: Manifest of the corpus.
        out: The `.tflite` file.
        quantization: How the network's numbers are stored: `float32`; `float16`, half the size;
            `dynamic`, weights in 8 bits, a quarter; `int8`, activations in 8 bits too. The last
            two are fast in LiteRT, slow in tflite-runtime. The front end stays in 32 bits. Input
            and output are always float32.
        force: Keep a file that breaks a bound; the report says so.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        speech: Folders of other speech, without labels, in any languages: the more voices and
            microphones the detector has heard, the fewer it takes for no speech.
        name: Name of the recogniser, in its metadata.
        model_version: Version of the recogniser, in its metadata.
        author: Author of the recogniser, in its metadata.
        licence: Terms of use, in its metadata; by default those of the target corpus.

    Returns:
        Form, number of clips, size in bytes, operators, largest and mean difference from Keras,
        share of clips with the same top label, and UAR. Printed, the result is a table of all
        forms.

    Raises:
        InputError: If the model needs the upstream (methods add, max, avg) or operators that
            are not built in, the manifest is of another corpus, the training split or a folder of
            speech has no clip, or the file breaks a bound.

    Example:
        >>> made = export_tflite(model_dir="model", manifest="manifest.csv", out="mine.tflite")
        >>> made.counts["form"], made.counts["clips"], made.counts["label_agreement"]
        ('float32', 12, 1.0)
        >>> from ser_nsl.edge import Recognizer
        >>> Recognizer("mine.tflite").labels
        ('anger', 'neutral', 'sadness', 'no speech')
    """
    from ser_nsl.export.clips import Clips
    from ser_nsl.export.forms import make_forms
    from ser_nsl.export.metadata import Card
    from ser_nsl.upstream.windows import find_speech

    others = find_speech(speech) if speech else []
    description = Description.load(model_dir)
    if licence is None:
        licence = training_data_note(read_manifest(manifest))
    rate, samples = description.front_end.sample_rate_hz, description.clip_samples
    card = Card(name, model_version, description.classes, rate, samples, author, licence)
    training = Clips.of_split("train", manifest, audio_dir, description)
    if not training.labelled:
        raise InputError(
            f"manifest: no training clip of {manifest} has one of the emotions that {model_dir} "
            f"knows, {', '.join(description.classes)}; give the manifest that it was trained on."
        )
    judged = Clips.for_bounds(manifest, audio_dir, description)
    forms = make_forms(model_dir, card, training=training, judged=judged, speech=others)
    chosen = forms[quantization].report
    if chosen["broken_bounds"] and not force:
        raise InputError(
            f"{model_dir}: as {quantization}, {'; '.join(chosen['broken_bounds'])} "
            f"({len(judged)} clips); the file is not written. To go on, choose another form with "
            "--quantization, replace the layer that TFLite computes differently, or --force it."
        )
    labels = forms[quantization].labels
    out.write_bytes(forms[quantization].content)
    report = {
        "quantization": quantization,
        "forced": bool(chosen["broken_bounds"]),
        "split": judged.split,
        "clips": len(judged),
        "labelled": judged.labelled,
        "input": {"name": "waveform", **_tensor(samples), "sample_rate_hz": rate},
        "output": {"name": "probabilities", **_tensor(len(labels)), "labels": [*labels]},
        "forms": {form: exported.report for form, exported in forms.items()},
    }
    (out.parent / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n")
    return {
        "form": quantization,
        "clips": len(judged),
        **{key: chosen[key] for key in _COUNTED},
        **({} if chosen["uar"] is None else {"uar": f"{chosen['uar']:.1%}"}),
    }


def _tensor(size: int) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [1, size]}
