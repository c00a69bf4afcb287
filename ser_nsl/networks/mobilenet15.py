"""MobileNet-15: depthwise-separable, for slow devices (research code of arXiv 2210.14977)."""

from __future__ import annotations

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf
from ser_nsl.networks.blocks import classify, conv_norm_relu, depthwise_separable, logmel_input

_BLOCKS = ((128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2))
_DROPOUT = 0.2


def mobilenet15(description: Description) -> tf.keras.Model:
    """Builds MobileNet-15, with 0.67 million parameters.

    Args:
        description: Description of the features.

    Returns:
        Keras model from `logmel` to logits.

    Example:
        >>> network = mobilenet15(Description.load("features"))
        >>> sum(isinstance(layer, tf.keras.layers.DepthwiseConv2D) for layer in network.layers)
        6
    """
    logmel, x = logmel_input(description)
    x = conv_norm_relu(x, 64, 3, strides=2)
    for filters, strides in _BLOCKS:
        x = depthwise_separable(x, filters, strides=strides)
    # A stopped training can save only stateful random numbers, and so go on with the same ones.
    x = tf.keras.layers.Dropout(_DROPOUT, rng_type="stateful")(x)
    return classify(logmel, x, description, "mobilenet15")
