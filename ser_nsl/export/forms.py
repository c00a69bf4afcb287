"""All forms of a recogniser, and how far each is from Keras."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.answers import fit_answers
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import operators, to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.export.parity import broken_bounds, compare
from ser_nsl.export.settings import Form
from ser_nsl.networks.saved import load_model
from ser_nsl.pipeline.bars import Bar

_CALIBRATION_CLIPS = 200


@dataclass(frozen=True)
class Exported:
    """A recogniser in one form.

    Attributes:
        content: The `.tflite` file.
        labels: Labels of the outputs.
        report: `bytes`, `temperature`, `operators`, largest and mean difference from Keras,
            `label_agreement`, `uar`, `keras_uar` and `broken_bounds`.
    """

    content: bytes
    labels: tuple[str, ...]
    report: dict[str, Any]


def make_forms(
    model_dir: Path,
    card: Card,
    *,
    training: Clips,
    judged: Clips,
    tested: Clips | None = None,
    speech: Sequence[Path] = (),
) -> dict[str, Exported]:
    """Converts a model to all forms, and runs each.

    Args:
        model_dir: Folder of a trained model.
        card: Metadata of the files.
        training: Clips that calibrate int8, and teach what speech is.
        judged: Clips that decide whether a form keeps its bounds, and how sure it is.
        tested: Clips of the other figures; None for the same.
        speech: Audio files of other speech, which teach what speech is, too.

    Returns:
        The forms by name.

    Raises:
        InputError: If the model needs the upstream, or operators that are not built in.
    """
    model, description = load_model(model_dir)
    if len(model.inputs) != 1:
        raise InputError(
            f"{model_dir}: a model of the methods add, max and avg needs the upstream's "
            "embedding at prediction time, so it cannot be exported; received the inputs "
            f"{', '.join(model.input_names)}. Train with the method nsl or base."
        )
    answers = fit_answers(model, training, judged, speech)
    card = replace(
        card,
        labels=answers.labels(description.classes),
        temperature=answers.temperature,
        typical=answers.typical,
    )
    calibration = training.evenly_spaced(_CALIBRATION_CLIPS).logmels()
    kinds = Bar(get_args(Form), desc="converting", unit="form")
    converted = {form: to_tflite(model, description, form, calibration, answers) for form in kinds}
    contents = {form: add_metadata(flatbuffer, card) for form, flatbuffer in converted.items()}
    with tempfile.TemporaryDirectory() as folder:
        recognizers = {}
        for form, content in contents.items():
            path = Path(folder) / f"{form}.tflite"
            path.write_bytes(content)
            recognizers[form] = Recognizer(path)
        bounding = compare(recognizers, model, judged, answers)
        parities = bounding if tested is None else compare(recognizers, model, tested, answers)
    return {
        form: Exported(
            contents[form],
            answers.labels(description.classes),
            {
                "bytes": len(contents[form]),
                "temperature": answers.temperature,
                "operators": operators(converted[form]),
                "largest_difference": float(f"{parity.largest:.2e}"),
                "mean_difference": float(f"{parity.mean:.2e}"),
                "label_agreement": parity.agreement,
                "uar": parity.uar,
                "keras_uar": parity.keras_uar,
                "broken_bounds": broken_bounds(form, bounding[form]),
            },
        )
        for form, parity in parities.items()
    }
