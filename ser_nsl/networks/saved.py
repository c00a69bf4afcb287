"""`model/`: a Keras model, and beside it what its numbers mean."""

import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError

# HDF5, not `.keras`: once transformers has brought tf-keras into a process that already holds
# TensorFlow's own Keras, loading a `.keras` file mixes the classes of both and never returns.
_MODEL_NAME = "model.h5"
_LAST_WEIGHTS_NAME = "last.weights.h5"
_FUNCTION_NAME = "saved_function"


def save_model(model: tf.keras.Model, description: Description, folder: Path) -> None:
    """Writes a model and `description.json`, as evaluation and export read them.

    A model of Keras's own layers goes to `model.h5`. One that is subclassed, or has layers of
    one's own, goes to the SavedModel `saved_function`: who reads it need not know the classes.

    Args:
        model: From log Mel in dB, as a tensor or as `{"logmel": tensor}`, to logits. A subclassed
            one must have been called, as training does.
        description: Of the features that it was trained on.
        folder: Made where it is missing.

    Raises:
        InputError: If a subclassed model was never called.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / _FUNCTION_NAME, ignore_errors=True)
    (folder / _MODEL_NAME).unlink(missing_ok=True)
    if _is_of_keras(model):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
            model.save(folder / _MODEL_NAME, include_optimizer=False)
    else:
        _save_function(model, description, folder / _FUNCTION_NAME)
    description.save(folder)


def _is_of_keras(model: tf.keras.Model) -> bool:
    """Whether every part of a model is of a class that any process knows."""
    return all(
        type(part).__module__.partition(".")[0] in ("keras", "tf_keras")
        for part in (model, *model.submodules)
        if isinstance(part, tf.keras.layers.Layer)
    )


def _save_function(model: tf.keras.Model, description: Description, path: Path) -> None:
    """Saves what a model computes, without what it is made of."""
    called_with = model.save_spec()
    if called_with is None:
        raise InputError(
            f"model: {model.name} was never called, so its weights are not made; train it first."
        )
    takes_names = isinstance(called_with[0][0], Mapping)

    def serve(logmel: tf.Tensor) -> tf.Tensor:
        return model({"logmel": logmel} if takes_names else logmel, training=False)

    shape = (None, *description.logmel_shape)
    function = tf.Module()
    function.weights = model.weights
    function.serve = tf.function(serve, [tf.TensorSpec(shape, tf.float32, "logmel")])
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))  # in notebooks it would tell where the assets are
    try:
        tf.saved_model.save(function, str(path))
    finally:
        logger.setLevel(level)


class _SavedFunction(tf.keras.layers.Layer):
    """What `_save_function` has saved."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="saved_function", trainable=False)
        self._function = tf.saved_model.load(str(path))

    def call(self, logmel: tf.Tensor) -> tf.Tensor:
        return self._function.serve(logmel)


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
        The model, not compiled, and the description. Of a subclassed model a functional one that
        computes the same; it cannot be trained on.

    Raises:
        InputError: If the folder is incomplete or its parts do not fit.
    """
    description = Description.load(folder)
    path = Path(folder) / _MODEL_NAME
    if not path.is_file() and (Path(folder) / _FUNCTION_NAME).is_dir():
        path = path.with_name(_FUNCTION_NAME)
    if not path.exists():
        raise InputError(f"{folder}: {_MODEL_NAME} is missing; train the model again.")
    try:
        if path.is_dir():
            logmel = tf.keras.Input(description.logmel_shape, name="logmel")
            model = tf.keras.Model(logmel, _SavedFunction(path)(logmel))
        else:
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
