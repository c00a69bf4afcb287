"""ResNet-9: a stem and three residual blocks (arXiv 2210.14977, after arXiv 1512.03385)."""

from __future__ import annotations

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf
from ser_nsl.networks.blocks import classify, conv_norm_relu, logmel_input, residual


def resnet9(description: Description) -> tf.keras.Model:
    """Builds ResNet-9, with 4.96 million parameters.

    Args:
        description: Description of the features.

    Returns:
        Keras model from `logmel` to logits.

    Example:
        >>> network = resnet9(Description.load("features"))
        >>> network.get_layer("fc1").output_shape
        (None, 256)
    """
    return _resnet9(description, 64, "resnet9")


def resnet9_quarter(description: Description) -> tf.keras.Model:
    """Builds ResNet-9 with a quarter of the filters, for small devices: 0.34 million parameters.

    Args:
        description: Description of the features.

    Returns:
        Keras model from `logmel` to logits.

    Example:
        >>> description = Description.load("features")
        >>> resnet9(description).count_params() // resnet9_quarter(description).count_params()
        14
    """
    return _resnet9(description, 16, "resnet9_quarter")


def _resnet9(description: Description, filters: int, name: str) -> tf.keras.Model:
    logmel, x = logmel_input(description)
    x = conv_norm_relu(x, filters, 7, strides=2)
    x = tf.keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for widening in (2, 4, 8):
        x = residual(x, widening * filters)
    return classify(logmel, x, description, name)
