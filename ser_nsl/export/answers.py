"""From a network's logits to answers that an app can show: calibrated, and none without speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special
import tensorflow as tf

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.edge import NO_SPEECH
from ser_nsl.export.clips import Clips
from ser_nsl.export.speech import speech_detector

_TEMPERATURES = (0.2, 10.0)  # the least and the largest

ABSTAIN_BELOW = 0.5
"""Probability of the top emotion below which an answer is more likely wrong than right."""


@dataclass(frozen=True)
class Answers:
    """How logits become answers.

    Attributes:
        temperature: What logits are divided by before the softmax (arXiv 1706.04599), above 0.
        typical: Mean natural logarithm of each emotion's probability over clips of many speakers,
            each emotion with the same weight; what a speaker's own mean is compared with. None if
            no clip of speech tells.
        detector: Model from log Mel to the logarithm of the odds of speech; None for a recogniser
            that takes everything for speech.
    """

    temperature: float = 1.0
    typical: tuple[float, ...] | None = None
    detector: tf.keras.Model | None = None

    def labels(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the labels of the outputs: the emotions, and `NO_SPEECH` where it is known."""
        return classes if self.detector is None else (*classes, NO_SPEECH)

    def from_logits(self, logits: tf.Tensor, odds: tf.Tensor | None = None) -> tf.Tensor:
        """Computes probabilities that sum to 1.

        Args:
            logits: Of the emotions, float32, shape `(batch, emotions)`.
            odds: What the detector returns, shape `(batch, 1)`; None without one.

        Returns:
            float32, shape `(batch, labels)`.
        """
        emotions = tf.nn.softmax(logits / self.temperature)
        if odds is None:
            return emotions
        speech = tf.sigmoid(odds)
        return tf.concat([speech * emotions, 1 - speech], axis=-1)

    def of(self, model: tf.keras.Model, logmel: tf.Tensor) -> tf.Tensor:
        """Computes the answers of a model, as the exported file does."""
        odds = None if self.detector is None else self.detector(logmel, training=False)
        return self.from_logits(model(logmel, training=False), odds)


def fit_answers(
    model: tf.keras.Model, training: Clips, judged: Clips, speech: Sequence[Path] = ()
) -> Answers:
    """Learns how a model's logits become answers.

    Args:
        model: Keras model from log Mel in dB to logits.
        training: Clips of speech, for the detector.
        judged: Clips of other speakers, for the temperature: as they are, and damaged.
        speech: Audio files of other speech, for the detector.

    Returns:
        The answers. The temperature is 1 where no clip has a label, or all were trained on.
    """
    knows = NO_SPEECH in training.description.classes  # the corpus has clips without speech
    detector = None if knows else speech_detector(training, speech)
    unheard = judged.split != training.split and judged.labelled > 0
    clips = judged.known() if judged.labelled else judged
    as_is = np.concatenate([model(logmel, training=False) for logmel in clips.logmel_batches()])
    temperature = 1.0
    if unheard:
        damaged = [model(logmel, training=False) for logmel in clips.logmel_batches(damaged=True)]
        logits = np.concatenate([as_is, *damaged])
        temperature = _temperature(logits, np.concatenate([clips.labels, clips.labels]))
    return Answers(temperature, _typical(as_is / temperature, clips), detector)


def _typical(logits: np.ndarray, clips: Clips) -> tuple[float, ...] | None:
    """Returns the mean logarithm of each emotion's probability, each emotion weighing the same.

    None where all clips are labelled as no speech.
    """
    emotions = [i for i, name in enumerate(clips.description.classes) if name != NO_SPEECH]
    speech = np.isin(clips.labels, [*emotions, UNLABELLED])
    if not speech.any():
        return None
    labels = clips.labels[speech]
    logarithms = scipy.special.log_softmax(logits[speech][:, emotions], axis=1)
    weights = 1 / pd.Series(labels).map(pd.Series(labels).value_counts())
    typical = np.average(logarithms, axis=0, weights=weights)
    return tuple(typical.round(4).tolist())


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature at which the labels are most probable."""

    def loss(logarithm: float) -> float:
        probabilities = scipy.special.log_softmax(logits / np.exp(logarithm), axis=1)
        return -probabilities[np.arange(len(labels)), labels].mean()

    bounds = np.log(_TEMPERATURES)
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)
