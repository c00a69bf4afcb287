"""All forms of a recogniser, and how far each is from Keras."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import Form, operators, to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.export.parity import broken_bounds, compare
from ser_nsl.export.quantized_training import tuned_for_int8
from ser_nsl.networks.saved import load_model

_EXAMPLES = 200  # training clips by which the ranges of 8 bits are chosen


@dataclass(frozen=True)
class Exported:
    """A recogniser in one form.

    Attributes:
        content: Of the `.tflite` file.
        report: `bytes`, `operators`, largest and mean difference from Keras, `label_agreement`,
            `uar`, `keras_uar` and `broken_bounds`.
    """

    content: bytes
    report: dict[str, Any]


def make_forms(
    model_dir: Path, card: Card, *, training: Clips, tested: Clips, tune_epochs: int = 0
) -> dict[Form, Exported]:
    """Converts a model to all forms, and runs each.

    Args:
        model_dir: Folder of a trained model.
        card: What their metadata say.
        training: Clips to which int8 is fitted.
        tested: Clips to run.
        tune_epochs: Epochs of training for int8; 0 for none.

    Returns:
        The forms by name.

    Raises:
        InputError: If the model needs the upstream or operators that are not built in, or training
            for int8 is not possible.
    """
    model, description = load_model(model_dir)
    if len(model.inputs) != 1:
        raise InputError(
            f"{model_dir}: a model of the methods add, max and avg needs the upstream's "
            "embedding at prediction time, so it cannot be exported; received the inputs "
            f"{', '.join(model.input_names)}. Train with the method nsl or base."
        )
    heard = training.labelled if tune_epochs else training.spread(_EXAMPLES)
    logmels = heard.logmels()
    tuned = {}
    if tune_epochs:
        tuned["int8"] = tuned_for_int8(model_dir, logmels, heard.labels, epochs=tune_epochs)
    bare = {
        form: tuned.get(form) or to_tflite(model, description, form, logmels)
        for form in get_args(Form)
    }
    contents = {form: add_metadata(flatbuffer, card) for form, flatbuffer in bare.items()}
    with tempfile.TemporaryDirectory() as folder:
        recognizers = {}
        for form, content in contents.items():
            path = Path(folder) / f"{form}.tflite"
            path.write_bytes(content)
            recognizers[form] = Recognizer(path)
        parities = compare(recognizers, model, tested)
    return {
        form: Exported(
            contents[form],
            {
                "bytes": len(contents[form]),
                "operators": operators(bare[form]),
                "largest_difference": float(f"{parity.largest:.2e}"),
                "mean_difference": float(f"{parity.mean:.2e}"),
                "label_agreement": parity.agreement,
                "uar": parity.uar,
                "keras_uar": parity.keras_uar,
                "broken_bounds": broken_bounds(form, parity),
            },
        )
        for form, parity in parities.items()
    }
