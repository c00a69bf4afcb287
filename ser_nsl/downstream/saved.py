"""`model/`: a Keras model, and beside it what its numbers mean."""

import warnings
from pathlib import Path

import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.features import Description

# HDF5, not `.keras`: once transformers has brought tf-keras into a process that already holds
# TensorFlow's own Keras, loading a `.keras` file mixes the classes of both and never returns.
_MODEL_NAME = "model.h5"
_LAST_WEIGHTS_NAME = "last.weights.h5"


def save_model(model: tf.keras.Model, description: Description, folder: Path) -> None:
    """Writes `model.h5` and `description.json`.

    Args:
        model: From log Mel in dB to logits.
        description: Of the features that it was trained on.
        folder: Existing folder.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
        model.save(folder / _MODEL_NAME, include_optimizer=False)
    description.save(folder)


def save_last_weights(network: tf.keras.Model, folder: Path) -> None:
    """Writes `last.weights.h5`, which `load_weights` of such a network reads.

    Args:
        network: As it is after an epoch.
        folder: Existing folder.
    """
    bare = tf.keras.Model(network.inputs, network.outputs)  # without the optimizer of a training
    bare.save_weights(folder / _LAST_WEIGHTS_NAME)


def load_model(folder: Path) -> tuple[tf.keras.Model, Description]:
    """Reads a model folder.

    Args:
        folder: Made by `save_model`.

    Returns:
        The model, not compiled, and the description.

    Raises:
        InputError: If the folder is incomplete or its parts do not fit.
    """
    description = Description.load(folder)
    path = Path(folder) / _MODEL_NAME
    if not path.is_file():
        raise InputError(f"{folder}: {_MODEL_NAME} is missing; train the model again.")
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train the model again.") from error
    if model.output_shape[-1] != len(description.classes):
        raise InputError(
            f"{folder}: the model has {model.output_shape[-1]} outputs, the description names "
            f"{len(description.classes)} classes; train the model again."
        )
    return model, description


def check_description(description: Description, records: Path) -> Description:
    """Checks that records were made for a model.

    Args:
        description: The model's.
        records: Folder of features.

    Returns:
        The model's description.

    Raises:
        InputError: If classes, front end or length differ.
    """
    other = Description.load(records)
    for name in ("classes", "front_end", "clip_samples"):
        ours, theirs = getattr(description, name), getattr(other, name)
        if ours != theirs:
            raise InputError(
                f"{records}: its {name} ({theirs}) are not those the model was trained with "
                f"({ours}). Extract the features again with the model's settings."
            )
    return description
