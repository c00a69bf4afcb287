"""The light networks, and the registry by which scripts find them.

A network is a function from a `Description` of the features to a Keras model. The input of the
model is `logmel`, its last layer gives logits, and it names the layers that a graph can regularise
(`fc1`, `fc2`).

Example:
    >>> list(NETWORKS)
    ['vgg15', 'resnet9', 'resnet9_quarter', 'cnn6', 'mobilenet15', 'cnn_tdnn']
    >>> NETWORKS["resnet9_quarter"](Description.load("features")).count_params()
    337491
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ser_nsl.audio.features import Description
from ser_nsl.lazy import tf
from ser_nsl.networks.cnn6 import cnn6
from ser_nsl.networks.cnn_tdnn import cnn_tdnn
from ser_nsl.networks.mobilenet15 import mobilenet15
from ser_nsl.networks.resnet9 import resnet9, resnet9_quarter
from ser_nsl.networks.saved import load_model, save_model
from ser_nsl.networks.vgg15 import vgg15

__all__ = [
    "NETWORKS",
    "NetworkName",
    "cnn6",
    "cnn_tdnn",
    "load_model",
    "mobilenet15",
    "resnet9",
    "resnet9_quarter",
    "save_model",
    "vgg15",
]

NetworkName = Literal["vgg15", "resnet9", "resnet9_quarter", "cnn6", "mobilenet15", "cnn_tdnn"]
"""The keys of `NETWORKS`, which are the choices of scripts."""

NETWORKS: dict[str, Callable[[Description], tf.keras.Model]] = {
    network.__name__: network
    for network in (vgg15, resnet9, resnet9_quarter, cnn6, mobilenet15, cnn_tdnn)
}
"""From the name of a network to the function that builds it."""
