"""How far exported files are from Keras, and how far they may be."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import UNLABELLED
from ser_nsl.edge import Recognizer
from ser_nsl.evaluation.scores import score
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import Form, probabilities

LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 1e-2}
"""By which a probability may differ from Keras's; weights of 16 bits are rounded by up to 5e-4."""

LARGEST_LOSS = 0.005
"""Of UAR, by 8 bits."""


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from Keras.

    Attributes:
        clips: Number of clips compared.
        largest: Largest absolute difference of two probabilities; NaN where one of them is.
        mean: Mean absolute difference of probabilities.
        agreement: Share of the clips with the same top label, in [0, 1].
        uar: Of the clips with a label, in [0, 1]; None without any.
        keras_uar: Keras's, likewise.
    """

    clips: int
    largest: float
    mean: float
    agreement: float
    uar: float | None
    keras_uar: float | None


def compare(
    recognizers: Mapping[Form, Recognizer], model: tf.keras.Model, clips: Clips
) -> dict[Form, Parity]:
    """Runs clips through Keras and exported files and compares.

    Args:
        recognizers: The exported files.
        model: The Keras model, from log Mel in dB to logits.
        clips: One at least.

    Returns:
        The differences, by form.
    """
    description, labels = clips.description, clips.labels
    by_keras: list[np.ndarray] = []
    found: dict[Form, list[list[float]]] = defaultdict(list)
    for waveforms in clips.waveforms():
        by_keras.extend(probabilities(model, description.front_end, tf.constant(waveforms)).numpy())
        for form, recognizer in recognizers.items():
            for waveform in waveforms:
                predicted = recognizer.predict(waveform, recognizer.sample_rate_hz)
                found[form].append([predicted[name] for name in description.classes])
    expected = np.array(by_keras)
    keras_uar = _uar(expected, labels, description)
    parities = {}
    for form, values in found.items():
        difference = np.abs(np.array(values) - expected)
        agreement = np.argmax(values, axis=1) == np.argmax(expected, axis=1)
        parities[form] = Parity(
            clips=len(values),
            largest=float(difference.max()),
            mean=float(difference.mean()),
            agreement=float(agreement.mean()),
            uar=_uar(np.array(values), labels, description),
            keras_uar=keras_uar,
        )
    return parities


def _uar(values: np.ndarray, labels: np.ndarray, description: Description) -> float | None:
    known = labels != UNLABELLED
    if not known.any():
        return None
    return score(labels[known], values[known].argmax(axis=1), description.classes)["uar"]


def broken_bounds(form: Form, parity: Parity) -> list[str]:
    """Says which bounds a form breaks.

    Args:
        form: Of the file.
        parity: With Keras.

    Returns:
        One phrase a bound.
    """
    broken = []
    bound = LARGEST_DIFFERENCE.get(form, 1.0)
    if not parity.largest <= bound:  # also when it is NaN
        broken.append(
            f"a probability differs from Keras's by {parity.largest:.1e}, allowed is {bound:g}"
        )
    if form in LARGEST_DIFFERENCE and parity.agreement < 1:
        broken.append(f"{1 - parity.agreement:.1%} of the clips get another label than by Keras")
    ours, theirs = parity.uar, parity.keras_uar
    if form not in LARGEST_DIFFERENCE and ours is not None and theirs is not None:
        loss = theirs - ours
        if loss > LARGEST_LOSS:
            broken.append(
                f"the UAR is {100 * loss:.1f} points below Keras's, allowed is "
                f"{100 * LARGEST_LOSS:g}"
            )
    return broken
