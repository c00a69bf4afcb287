"""Tells speech from all other sounds, so that a recogniser need not call a hum angry."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches
from ser_nsl.audio.damage import add, damaged_to_length
from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.sounds import no_speech
from ser_nsl.export.clips import Clips, at_rate, damaged_clip
from ser_nsl.pipeline.bars import Bar

_COPIES = 4  # examples a training clip
_LEAST, _MOST = 200, 1_200  # examples of training clips
_MOST_OTHERS = 2_400  # examples of other speech, two a clip
_BATCH = 16
_LAGS = (1, 4, 12)  # frames: 16, 64 and 192 ms by default; syllables change in that time
_HIDDEN = 32
_WEIGHT_DECAY = 0.003  # an example
_SEED = 0


def speech_detector(training: Clips, others: Sequence[Path] = ()) -> tf.keras.Model:
    """Learns to tell speech from other sounds.

    Half of its examples are speech: clips, and beyond those, copies damaged as in training. The
    other half are the sounds of `ser_nsl.audio.sounds`. It knows nothing of emotions.

    Args:
        training: Clips of the training split.
        others: Audio files of other speech. The more voices and microphones it hears, the fewer
            it takes for no speech.

    Returns:
        A model from log Mel in dB, float32 of shape `(batch, frames, mels)`, to the logarithm of
        the odds of speech, float32 of shape `(batch, 1)`.
    """
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    description = training.description
    own = min(max(_LEAST, _COPIES * len(training)), _MOST)
    more = min(2 * len(others), _MOST_OTHERS)
    count = own + more
    both = itertools.chain(
        itertools.islice(_speech(training.paths, description, own), own),
        itertools.islice(_speech(others, description, more), more),
        itertools.islice(_sounds(description), count),
    )
    bar = Bar(both, total=2 * count, desc="speech and other sounds", unit="clip")
    examples = _statistics_of(bar, description)
    is_speech = np.repeat([True, False], count)
    scale = StandardScaler().fit(examples)
    network = MLPClassifier(
        _HIDDEN,
        solver="lbfgs",
        alpha=_WEIGHT_DECAY * len(examples),
        max_iter=5_000,
        random_state=_SEED,
    ).fit(scale.transform(examples), is_speech)
    (hidden, last), (hidden_bias, last_bias) = network.coefs_, network.intercepts_
    hidden = hidden / scale.scale_[:, np.newaxis]
    hidden_bias = hidden_bias - scale.mean_ @ hidden
    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    x = _Statistics(name="statistics")(logmel)
    x = tf.keras.layers.Dense(_HIDDEN, activation="relu", name="hidden")(x)
    odds = tf.keras.layers.Dense(1, name="odds")(x)
    model = tf.keras.Model(logmel, odds, name="speech")
    model.set_weights([hidden, hidden_bias, last, last_bias])
    return model


class _Statistics(tf.keras.layers.Layer):
    """Level of each band, and how much it changes over time and from band to band."""

    def call(self, logmel: tf.Tensor) -> tf.Tensor:
        return _statistics(logmel)


def _statistics(logmel: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(logmel, axis=1, keepdims=True)
    spread = tf.sqrt(tf.reduce_mean((logmel - mean) ** 2, axis=1))
    changes = [
        tf.reduce_mean(tf.abs(logmel[:, lag:] - logmel[:, :-lag]), axis=1)
        for lag in _LAGS
        if lag < logmel.shape[1]
    ]
    steps = tf.reduce_mean(tf.abs(logmel[:, :, 1:] - logmel[:, :, :-1]), axis=1)
    return tf.concat([mean[:, 0], spread, *changes, steps], axis=-1)


def _statistics_of(waveforms: Iterable[np.ndarray], description: Description) -> np.ndarray:
    """Computes the statistics of waveforms at the rate of the front end."""

    @tf.function(reduce_retracing=True)
    def compute(batch: tf.Tensor) -> tf.Tensor:
        batch = tf.ensure_shape(batch, (None, description.clip_samples))
        return _statistics(log_mel(batch, description.front_end))

    waiting, batches = iter(waveforms), []
    while batch := [*itertools.islice(waiting, _BATCH)]:
        batches.append(compute(np.stack(batch)).numpy())
    return np.concatenate(batches)


def _speech(paths: Sequence[Path], description: Description, count: int) -> Iterator[np.ndarray]:
    """Yields clips, evenly spaced, for half of the count; then damaged copies without end.

    Every other copy is over a sound that is not speech, such as a hum or music: it is speech still.
    """
    samples, rate = _shape(description)
    chosen = paths[:: -(-len(paths) // (count // 2))]
    for waveforms in read_batches(chosen, samples, batch=_BATCH, sample_rate_hz=rate):
        yield from waveforms
    for turn in itertools.count():
        for row, path in enumerate(chosen):
            copy = damaged_clip(path, samples, rate, (row, turn))
            yield _over_a_sound(copy, rate, (_SEED, row, turn)) if (row + turn) % 2 else copy


def _over_a_sound(clip: np.ndarray, rate: int, seed: Sequence[int]) -> np.ndarray:
    """Adds a sound that is not speech, by 0 to 30 dB below the clip."""
    draw = np.random.default_rng(seed)
    sound = no_speech(round(len(clip) / rate * SAMPLE_RATE_HZ), draw)
    mixed = add(clip, at_rate(sound, len(clip), rate), draw.uniform(0, 30))
    return np.clip(mixed, -1, 1)


def _sounds(description: Description) -> Iterator[np.ndarray]:
    """Yields sounds that are not speech, half of them damaged, without end."""
    samples, rate = _shape(description)
    at_16_khz = round(samples / rate * SAMPLE_RATE_HZ)
    for number in itertools.count():
        sound = no_speech(at_16_khz, np.random.default_rng((_SEED, number)))
        if number % 2:
            sound = damaged_to_length(sound, at_16_khz, (_SEED, number))
        yield at_rate(sound, samples, rate)


def _shape(description: Description) -> tuple[int, int]:
    return description.clip_samples, description.front_end.sample_rate_hz
