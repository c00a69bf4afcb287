"""Whether an exported file gives the same probabilities as Keras."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ser_nsl.edge import Recognizer
from ser_nsl.export.convert import probabilities
from ser_nsl.features import Description


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from Keras.

    Attributes:
        clips: Number of clips compared.
        largest: Largest absolute difference of two probabilities.
        mean: Mean absolute difference of probabilities.
        agreement: Share of the clips with the same top label, in [0, 1].
    """

    clips: int
    largest: float
    mean: float
    agreement: float


def compare(
    recognizer: Recognizer,
    model: tf.keras.Model,
    description: Description,
    batches: Iterable[np.ndarray],
) -> Parity:
    """Runs clips through both and compares.

    Args:
        recognizer: The exported file.
        model: The Keras model, from log Mel in dB to logits.
        description: Of the features that it was trained on.
        batches: Waveforms, float32, shape `(batch, clip_samples)`; at least one.

    Returns:
        The differences; NaN where one of the two gave NaN.
    """
    ours, theirs = [], []
    for waveforms in batches:
        theirs.extend(probabilities(model, description.front_end, tf.constant(waveforms)).numpy())
        for waveform in waveforms:
            predicted = recognizer.predict(waveform, recognizer.sample_rate_hz)
            ours.append([predicted[name] for name in description.classes])
    difference = np.abs(np.array(ours) - np.array(theirs))
    agreement = np.argmax(ours, axis=1) == np.argmax(theirs, axis=1)
    return Parity(
        len(ours), float(difference.max()), float(difference.mean()), float(agreement.mean())
    )
