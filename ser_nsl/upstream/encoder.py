"""The two halves of a wav2vec 2.0 encoder: convolutions, which may be frozen, and transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor
else:
    tf = lazy_loader.load("tensorflow")

LEAST_SAMPLES = 400
"""Samples that one output of wav2vec 2.0's convolutions depends on."""

_VARIANCE_FLOOR = 1e-7  # as Wav2Vec2FeatureExtractor


def standardise(waveform: tf.Tensor, extractor: Wav2Vec2FeatureExtractor) -> tf.Tensor:
    """Scales each clip to mean 0 and deviation 1, where the checkpoint was trained so.

    Args:
        waveform: float32, shape `(batch, samples)`, without padding.
        extractor: Input settings of the checkpoint.

    Returns:
        float32, same shape.
    """
    if not extractor.do_normalize:
        return waveform
    mean, variance = tf.nn.moments(waveform, axes=[1], keepdims=True)
    return (waveform - mean) * tf.math.rsqrt(variance + _VARIANCE_FLOOR)


def frame_features(
    model: TFWav2Vec2ForSequenceClassification,
    waveform: tf.Tensor,
    extractor: Wav2Vec2FeatureExtractor,
) -> tf.Tensor:
    """Runs the convolutions: the first half, which is usually frozen in fine-tuning.

    Args:
        model: The upstream.
        waveform: float32, shape `(batch, samples)` at 16 kHz, without padding.
        extractor: Input settings of the checkpoint.

    Returns:
        Shape `(batch, frames, channels)`, one frame every 20 ms with the published strides.
    """
    return model.wav2vec2.feature_extractor(standardise(waveform, extractor))


def frame_statistics(features: tf.Tensor) -> tf.Tensor:
    """Computes mean and deviation of a clip's frames over time.

    Args:
        features: Output of `frame_features`, shape `(batch, frames, channels)`.

    Returns:
        float32, shape `(batch, 2 * channels)`.
    """
    mean, variance = tf.nn.moments(tf.cast(features, tf.float32), axes=[1])
    return tf.concat([mean, tf.sqrt(variance)], axis=-1)


def hidden_states(
    model: TFWav2Vec2ForSequenceClassification,
    features: tf.Tensor,
    *,
    training: bool = False,
    masked: tf.Tensor | None = None,
    dropped: tf.Tensor | None = None,
) -> tuple[tf.Tensor, ...]:
    """Runs projection and transformer: the second half.

    Args:
        model: The upstream.
        features: Output of `frame_features`, shape `(batch, frames, channels)`.
        training: Whether to apply dropout.
        masked: bool, shape `(batch, frames)`: frames that the learned mask replaces in the input
            of the transformer.
        dropped: bool, shape `(batch, hidden size)`: features that are 0 in the input of the
            transformer.

    Returns:
        Shapes `(batch, frames, hidden size)`: the transformer's input and each layer's output,
        `layers + 1` tensors; the last is the input of the head.
    """
    encoder = model.wav2vec2
    hidden, _ = encoder.feature_projection(features, training=training)
    if masked is not None:
        mask = tf.cast(encoder.masked_spec_embed, hidden.dtype)
        hidden = tf.where(masked[..., tf.newaxis], mask, hidden)
    if dropped is not None:
        hidden = tf.where(dropped[:, tf.newaxis], tf.zeros([], hidden.dtype), hidden)
    return encoder.encoder(
        hidden, output_hidden_states=True, return_dict=True, training=training
    ).hidden_states


def random_spans(
    shape: tuple[tf.Tensor, tf.Tensor], share: float, length: int, *, seed: np.ndarray
) -> tf.Tensor:
    """Draws spans to mask in each row (SpecAugment, arXiv 1904.08779).

    Args:
        shape: (rows, columns).
        share: Expected total length of the spans over the number of columns, 0 to 1; a little
            less is covered, since spans may overlap and extend beyond the end.
        length: Columns of a span.
        seed: int64, shape `(2,)`; the same seed gives the same spans.

    Returns:
        bool, shape `(rows, columns)`.
    """
    starts = tf.cast(tf.random.stateless_uniform(shape, seed) < share / length, tf.float32)
    padded = tf.pad(starts, [[0, 0], [length - 1, 0]])[..., tf.newaxis]
    return tf.nn.max_pool1d(padded, length, strides=1, padding="VALID")[..., 0] > 0
