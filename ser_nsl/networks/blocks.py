"""The layers that the networks share."""

from __future__ import annotations

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf

EMBEDDING_WIDTH = 256
"""Units of `fc1`, as wide as the upstream's embeddings."""

FRAMES = "frames"
"""Name of the layer whose outputs over time are pooled; its second axis is time."""

BATCH_NORM_MOMENTUM = 0.9
"""Keras's 0.99 forgets its initial values in about 500 steps, more than a small corpus has."""


def logmel_input(description: Description) -> tuple[tf.Tensor, tf.Tensor]:
    """Starts a network: log Mel in dB, standardised band by band, as an image of one channel.

    Args:
        description: Description of the features, with their shape, mean and deviation.

    Returns:
        The Keras input `logmel`, shape `(batch, frames, mels)`, and the image, shape
        `(batch, frames, mels, 1)`.
    """
    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    standardised = tf.keras.layers.Normalization(
        mean=list(description.mean),
        variance=[deviation**2 for deviation in description.deviation],
        name="standardise",
    )(logmel)
    return logmel, tf.keras.layers.Reshape((*description.logmel_shape, 1))(standardised)


def conv_norm(
    x: tf.Tensor, filters: int, kernel: int | tuple[int, int], *, strides: int | tuple[int, int] = 1
) -> tf.Tensor:
    """Convolution without bias, then batch normalisation; "same" padding."""
    x = tf.keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    return _norm(x)


def conv_norm_relu(
    x: tf.Tensor, filters: int, kernel: int | tuple[int, int], *, strides: int | tuple[int, int] = 1
) -> tf.Tensor:
    """Convolution without bias, batch normalisation, ReLU; "same" padding."""
    return tf.keras.layers.ReLU()(conv_norm(x, filters, kernel, strides=strides))


def residual(x: tf.Tensor, filters: int, *, strides: int | tuple[int, int] = 2) -> tf.Tensor:
    """Two 3x3 convolutions, plus a 1x1 projection without normalisation (arXiv 1512.03385)."""
    shortcut = tf.keras.layers.Conv2D(filters, 1, strides=strides, padding="same", use_bias=False)
    projected = shortcut(x)
    x = conv_norm_relu(x, filters, 3, strides=strides)
    x = conv_norm(x, filters, 3)
    return tf.keras.layers.ReLU()(tf.keras.layers.Add()([x, projected]))


def depthwise_separable(x: tf.Tensor, filters: int, *, strides: int = 1) -> tf.Tensor:
    """3x3 convolution of each channel, then 1x1 across channels, both normalised with ReLU."""
    x = tf.keras.layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
    x = tf.keras.layers.ReLU()(_norm(x))
    return conv_norm_relu(x, filters, 1)


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Batch normalisation over the whole batch, however many devices share it."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1  # on one it would be slower
    return tf.keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, synchronized=several)(x)


def classify(
    logmel: tf.Tensor, x: tf.Tensor, description: Description, name: str
) -> tf.keras.Model:
    """Ends a network of images: global average pooling, then `classify_pooled`.

    Args:
        logmel: Keras input of the network.
        x: Output of its last block, shape `(batch, frames, bands, channels)`.
        description: Description of the features, with the classes.
        name: Name of the model.

    Returns:
        The model from `logmel` to logits: float32 in any precision, shape `(batch, classes)`.
    """
    x = tf.keras.layers.Activation("linear", name=FRAMES)(x)
    pooled = tf.keras.layers.GlobalAveragePooling2D()(x)
    return classify_pooled(logmel, pooled, description, name)


def classify_pooled(
    logmel: tf.Tensor, pooled: tf.Tensor, description: Description, name: str
) -> tf.keras.Model:
    """Ends a network: `fc1` with ReLU, `fc2` with one logit per class.

    Args:
        logmel: Keras input of the network.
        pooled: What it has found in the whole clip, shape `(batch, channels)`.
        description: Description of the features, with the classes.
        name: Name of the model.

    Returns:
        The model from `logmel` to logits: float32 in any precision, shape `(batch, classes)`.
    """
    x = tf.keras.layers.Dense(EMBEDDING_WIDTH, activation="relu", name="fc1")(pooled)
    logits = tf.keras.layers.Dense(len(description.classes), dtype="float32", name="fc2")(x)
    return tf.keras.Model(logmel, logits, name=name)
