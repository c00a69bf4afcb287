"""Training that starts from the weights of a network that has learned something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.networks.saved import read_model

_LAST = "fc2"


def read_start(
    folder: Path, network: str, description: Description
) -> tuple[tf.keras.Model, Description]:
    """Reads the network to start from, which may know other classes or none, and other lengths.

    Args:
        folder: Folder that `teach_network` or `train_downstream` wrote.
        network: Name of the network to train.
        description: Description of the features to train it on.

    Returns:
        The network of the folder, and the description of the one to train: with the mean and
        deviation of each band that the folder's has learned with.

    Raises:
        InputError: As `load_model`, or if it is another network, or of another front end.
    """
    start, learned = read_model(folder)
    if start.name != network:
        raise InputError(
            f"start: {folder} is a {start.name}, and --model is {network}; they must be the same. "
            f"Choose --model {start.name}, or another start."
        )
    if learned.front_end != description.front_end:
        raise InputError(
            f"start: {folder} has learned with the front end {learned.front_end}, and the features "
            f"have {description.front_end}; extract the features with the former."
        )
    return start, replace(description, mean=learned.mean, deviation=learned.deviation)


def copy_weights(start: tf.keras.Model, network: tf.keras.Model) -> None:
    """Gives a network the weights of another of its kind, but for the last layer.

    Args:
        start: Network to start from.
        network: Network to train.

    Raises:
        InputError: If a layer is missing or has another size.
    """
    learned = {layer.name: layer.get_weights() for layer in start.layers}
    for layer in network.layers:
        weights = learned.get(layer.name, [])
        sizes = [weight.shape for weight in weights]
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if layer.name == _LAST:
            continue
        if sizes != wanted:
            raise InputError(
                f"start: its layer {layer.name} has weights of {sizes}, and {network.name} needs "
                f"{wanted}; teach the network again with this version."
            )
        layer.set_weights(weights)
