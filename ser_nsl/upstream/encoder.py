"""What every speech encoder offers: the frames of its layers, for clips of one length.

`wav2vec2.py` and `whisper.py` hold one architecture each; all else that needs frames does not know
which it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf

Pooling = Literal["mean", "statistics"]
"""How frames become one vector: their mean over time, or mean and deviation."""


class Encoder(ABC):
    """A speech model without its head, frozen.

    Attributes:
        architecture: `model_type` of its config.json.
        layers: Number of transformer layers; layer 0 is the input of the first.
        width: Width of a frame.
        hop_samples: Samples between two frames, 320 in all published checkpoints.
        first_sample: The sample at the centre of the first frame.
        least_samples: Length of the shortest clip that has a frame.
        longest_samples: Length of the longest clip that fits, or None if any does.
        settings: Settings that the frames depend on, beside the weights.
        weights: Variables by PyTorch's names, without the prefix of the model.
        body: The network: a Keras layer of transformers.
        extractor: Input settings of the checkpoint, of transformers.
    """

    architecture: str
    layers: int
    width: int
    hop_samples: int
    first_sample: int
    least_samples: int
    longest_samples: int | None
    settings: Mapping[str, Any]
    weights: Mapping[str, tf.Variable]
    body: Any
    extractor: Any

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(int(np.prod(variable.shape)) for variable in self.weights.values())

    @abstractmethod
    def frames(self, waveform: tf.Tensor, layers: Sequence[int]) -> list[tf.Tensor]:
        """Computes frames, no further up than the highest of the layers.

        Args:
            waveform: float32, shape `(batch, samples)` at 16 kHz, without padding.
            layers: Numbers of layers, 0 to `self.layers`.

        Returns:
            Per layer float32, shape `(batch, frames, width)`, as `hidden_states` of the model in
            transformers.
        """

    def check_layers(self, layers: Sequence[int]) -> None:
        """Refuses layers that the model does not have.

        Raises:
            InputError: If one is negative or above `self.layers`, or given twice, or none is given.
        """
        unknown = [layer for layer in layers if not 0 <= layer <= self.layers]
        if unknown or not layers or len(set(layers)) < len(layers):
            raise InputError(
                f"layers: must be different numbers from 0 to {self.layers}, the transformer's "
                f"input and its {self.layers} layers; received {tuple(layers)}."
            )

    def check_window(self, samples: int) -> None:
        """Refuses windows in which the model has no frame, or which exceed its positions.

        Raises:
            InputError: If `samples` is out of the range.
        """
        if samples < self.least_samples:
            raise InputError(
                f"clip_seconds, window_seconds: must hold {self.least_samples} samples at 16 kHz, "
                f"one frame of the upstream; received {samples / 16_000:g} s, that is {samples}."
            )
        if self.longest_samples is not None and samples > self.longest_samples:
            raise InputError(
                f"window_seconds: must be at most {self.longest_samples / 16_000:g} s, the longest "
                f"clip of a {self.architecture}; received {samples / 16_000:g} s."
            )


def pool(frames: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Computes one vector a clip.

    Args:
        frames: Shape `(batch, frames, width)`.
        pooling: `mean` over time, or `statistics`, mean and deviation.

    Returns:
        float32, shape `(batch, width)` or `(batch, 2 * width)`.

    Example:
        >>> import tensorflow as tf
        >>> pool(tf.constant([[[1.0], [3.0]]]), "statistics").numpy()
        array([[2., 1.]], dtype=float32)
    """
    mean, variance = tf.nn.moments(tf.cast(frames, tf.float32), axes=[1])
    if pooling == "mean":
        return mean
    # The root of 0 has no gradient; frames of silence, which are all alike, would train to NaN.
    varies = variance > 0
    deviation = tf.where(varies, tf.sqrt(tf.where(varies, variance, 1.0)), 0.0)
    return tf.concat([mean, deviation], axis=-1)


def pool_layers(frames: Sequence[tf.Tensor], pooling: Pooling) -> tf.Tensor:
    """Computes one vector a clip from several layers, side by side in the order given.

    Args:
        frames: Per layer, shape `(batch, frames, width)`.
        pooling: As for `pool`.

    Returns:
        float32, shape `(batch, layers * width)`, or twice as wide for `statistics`.
    """
    return tf.concat([pool(each, pooling) for each in frames], axis=-1)


def as_float16(values: tf.Tensor) -> tf.Tensor:
    """Rounds to float16, with its largest number for what is beyond: some encoders' are.

    Args:
        values: Any shape.

    Returns:
        float16, same shape.

    Example:
        >>> import tensorflow as tf
        >>> as_float16(tf.constant([0.5, -1e6])).numpy()
        array([ 5.00e-01, -6.55e+04], dtype=float16)
    """
    largest = tf.float16.max
    return tf.cast(tf.clip_by_value(values, -largest, largest), tf.float16)


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
