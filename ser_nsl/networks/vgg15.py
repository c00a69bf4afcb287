"""VGG-15: thirteen 3x3 convolutions in five blocks (arXiv 2210.14977, after arXiv 1409.1556)."""

from __future__ import annotations

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf
from ser_nsl.networks.blocks import classify, conv_norm_relu, logmel_input

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg15(description: Description) -> tf.keras.Model:
    """Builds VGG-15, with 14.86 million parameters.

    Args:
        description: Description of the features.

    Returns:
        Keras model from `logmel` to logits.

    Example:
        >>> network = vgg15(Description.load("features"))
        >>> sum(isinstance(layer, tf.keras.layers.Conv2D) for layer in network.layers)
        13
    """
    logmel, x = logmel_input(description)
    for filters, depth in _BLOCKS:
        for _ in range(depth):
            x = conv_norm_relu(x, filters, 3)
        x = tf.keras.layers.MaxPooling2D(2)(x)
    return classify(logmel, x, description, "vgg15")
