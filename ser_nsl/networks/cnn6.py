"""CNN-6: four 5x5 convolutions (arXiv 2210.14977, after arXiv 1912.10211)."""

from __future__ import annotations

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf
from ser_nsl.networks.blocks import classify, conv_norm_relu, logmel_input


def cnn6(description: Description) -> tf.keras.Model:
    """Builds CNN-6, with 4.44 million parameters.

    Args:
        description: Description of the features.

    Returns:
        Keras model from `logmel` to logits.

    Example:
        >>> network = cnn6(Description.load("features"))
        >>> network.input_shape, network.output_shape  # clips x frames x Mel bands, emotions
        ((None, 36, 64), (None, 3))
    """
    logmel, x = logmel_input(description)
    for filters in (64, 128, 256, 512):
        x = conv_norm_relu(x, filters, 5)
        x = tf.keras.layers.MaxPooling2D(2)(x)
    return classify(logmel, x, description, "cnn6")
