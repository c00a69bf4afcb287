"""MobileNet-15: depthwise-separable, for slow devices (research code of arXiv 2210.14977)."""

import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.networks.blocks import (
    classify,
    conv_norm_relu,
    depthwise_separable,
    logmel_input,
)

_BLOCKS = ((128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2))
_DROPOUT = 0.2


def mobilenet15(description: Description) -> tf.keras.Model:
    """Builds MobileNet-15; 0.67 M parameters.

    Args:
        description: Of the features.

    Returns:
        Keras model from `logmel` to logits.
    """
    logmel, x = logmel_input(description)
    x = conv_norm_relu(x, 64, 3, strides=2)
    for filters, strides in _BLOCKS:
        x = depthwise_separable(x, filters, strides=strides)
    # Only this kind of random numbers can go on where a killed training stopped.
    x = tf.keras.layers.Dropout(_DROPOUT, rng_type="stateful")(x)
    return classify(logmel, x, description, "mobilenet15")
