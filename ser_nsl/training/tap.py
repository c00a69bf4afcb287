"""The output of a layer inside a Keras model of any kind."""

import threading
from typing import Any

import tensorflow as tf

from ser_nsl.errors import InputError


class Tap:
    """Keeps the last output of a layer; replicas take turns to be traced, each in its own thread.

    Example:
        >>> dense = tf.keras.layers.Dense(2)
        >>> tap = Tap(dense)
        >>> outputs = dense(tf.zeros((3, 4)))
        >>> tap.take() is outputs
        True
    """

    def __init__(self, layer: tf.keras.layers.Layer) -> None:
        """Makes a layer keep its outputs.

        Args:
            layer: Any layer.
        """
        self._name, self._last = layer.name, threading.local()
        call = layer.call

        def tapped(*args: Any, **kwargs: Any) -> tf.Tensor:
            self._last.output = call(*args, **kwargs)
            return self._last.output

        layer.call = tapped

    def take(self) -> tf.Tensor:
        """Returns the last output, once.

        Raises:
            InputError: If the layer was not called since.
        """
        output = getattr(self._last, "output", None)
        self._last.output = None
        if output is None:
            raise InputError(f"layer: the model does not call {self._name!r}.")
        return output


def check_layer(model: tf.keras.Model, layer: str) -> tf.keras.layers.Layer:
    """Checks that a model has a layer.

    Args:
        model: Any Keras model.
        layer: Name of the layer, which may be inside another one; an outer layer takes precedence
            over an inner one of the same name.

    Returns:
        The layer.

    Raises:
        InputError: If it has no such layer; the message lists its layers.
    """
    layers = {part.name: part for part in model.layers}
    for part in model.submodules:
        if isinstance(part, tf.keras.layers.Layer):
            layers.setdefault(part.name, part)
    if layer not in layers:
        raise InputError(f"layer: {model.name} has no layer {layer!r}; it has {', '.join(layers)}.")
    return layers[layer]
