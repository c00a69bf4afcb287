"""CNN-6: four 5x5 convolutions (arXiv 2210.14977, after arXiv 1912.10211)."""

import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.networks.blocks import classify, conv_norm_relu, logmel_input


def cnn6(description: Description) -> tf.keras.Model:
    """Builds CNN-6; 4.44 M parameters.

    Args:
        description: Of the features.

    Returns:
        Keras model from `logmel` to logits.
    """
    logmel, x = logmel_input(description)
    for filters in (64, 128, 256, 512):
        x = conv_norm_relu(x, filters, 5)
        x = tf.keras.layers.MaxPooling2D(2)(x)
    return classify(logmel, x, description, "cnn6")
