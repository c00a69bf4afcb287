"""How far exported files are from Keras, and which bounds they break."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.front_end import log_mel
from ser_nsl.edge import Recognizer
from ser_nsl.evaluation.scores import score
from ser_nsl.export.answers import Answers
from ser_nsl.export.clips import Clips
from ser_nsl.export.settings import LARGEST_DIFFERENCE, LARGEST_UAR_LOSS
from ser_nsl.pipeline.bars import Bar


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from Keras.

    Attributes:
        largest: Largest absolute difference of two probabilities; NaN where one of them is.
        mean: Mean absolute difference of probabilities.
        agreement: Share of the clips with the same top label, in [0, 1].
        uar: UAR of the file on the labelled clips, in [0, 1]; None without labelled clips.
        keras_uar: UAR of Keras on the same clips.
    """

    largest: float
    mean: float
    agreement: float
    uar: float | None
    keras_uar: float | None


def compare(
    recognizers: Mapping[str, Recognizer],
    model: tf.keras.Model,
    clips: Clips,
    answers: Answers = Answers(),  # noqa: B008 (frozen)
) -> dict[str, Parity]:
    """Compares exported files with Keras on the same clips.

    Args:
        recognizers: The exported files by form.
        model: Keras model from log Mel in dB to logits.
        clips: One clip or more.
        answers: How the model's logits become answers.

    Returns:
        The differences by form.
    """
    front_end, labels = clips.description.front_end, answers.labels(clips.description.classes)
    by_keras: list[np.ndarray] = []
    by_form: dict[str, list[list[float]]] = defaultdict(list)
    bar = Bar(total=len(clips), desc="comparing with Keras", unit="clip")
    for waveforms in clips.waveforms():
        by_keras.extend(answers.of(model, log_mel(tf.constant(waveforms), front_end)).numpy())
        for form, recognizer in recognizers.items():
            for waveform in waveforms:
                predicted = recognizer.predict(waveform, recognizer.sample_rate_hz)
                by_form[form].append([predicted[name] for name in labels])
        bar.update(len(waveforms))
    bar.close()
    expected = np.array(by_keras)
    keras_uar = _uar(expected, clips, labels)
    parities = {}
    for form, rows in by_form.items():
        values = np.array(rows)
        difference = np.abs(values - expected)
        parities[form] = Parity(
            largest=float(difference.max()),
            mean=float(difference.mean()),
            agreement=float(np.mean(values.argmax(axis=1) == expected.argmax(axis=1))),
            uar=_uar(values, clips, labels),
            keras_uar=keras_uar,
        )
    return parities


def _uar(values: np.ndarray, clips: Clips, labels: Sequence[str]) -> float | None:
    labelled = clips.labels != UNLABELLED
    if not labelled.any():
        return None
    predicted = values[labelled].argmax(axis=1)
    return score(clips.labels[labelled], predicted, labels)["uar"]


def broken_bounds(form: str, parity: Parity) -> list[str]:
    """Lists the bounds that a form breaks.

    Args:
        form: Name of the form.
        parity: Its differences from Keras.

    Returns:
        One phrase per broken bound.
    """
    broken = []
    bound = LARGEST_DIFFERENCE.get(form, 1.0)
    if not parity.largest <= bound:  # also when it is NaN
        broken.append(
            f"a probability differs from Keras's by {parity.largest:.1e}, allowed is {bound:g}"
        )
    if form in LARGEST_DIFFERENCE and parity.agreement < 1:
        broken.append(f"{1 - parity.agreement:.1%} of the clips get another label than by Keras")
    if form not in LARGEST_DIFFERENCE and parity.uar is not None and parity.keras_uar is not None:
        loss = parity.keras_uar - parity.uar
        if loss > LARGEST_UAR_LOSS:
            broken.append(
                f"the UAR is {100 * loss:.1f} points below Keras's, allowed is "
                f"{100 * LARGEST_UAR_LOSS:g}"
            )
    return broken
