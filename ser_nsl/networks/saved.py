"""The folder `model/`: a Keras model, and beside it a description of its input and output."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError, refuse
from ser_nsl.lazy import tf
from ser_nsl.networks.autograph import leave_tf_keras
from ser_nsl.networks.known import is_known, unknown_classes, unknown_operators

# HDF5, not `.keras`: once transformers has brought tf-keras into a process that already holds
# TensorFlow's own Keras, loading a `.keras` file mixes the classes of both and never returns.
_MODEL_NAME = "model.h5"
_LAST_WEIGHTS_NAME = "last.weights.h5"
_FUNCTION_NAME = "saved_function"


def save_model(model: tf.keras.Model, description: Description, folder: Path) -> None:
    """Writes a model and `description.json`, as evaluation and export read them.

    A model of Keras's own layers goes to `model.h5`. A subclassed model, or one with custom layers,
    lambdas or bare operators, goes to the SavedModel `saved_function`, which can be read without
    its classes.

    Args:
        model: Model from log Mel in dB, as a tensor or as `{"logmel": tensor}`, to logits. A
            subclassed one must have been called, as training does.
        description: Description of the features that it was trained on.
        folder: Folder to write to, made where it is missing.

    Raises:
        InputError: If a subclassed model was never called.

    Example:
        >>> logmel = tf.keras.Input((36, 64), name="logmel")  # frames x Mel bands
        >>> pooled = tf.keras.layers.GlobalAveragePooling1D()(logmel)
        >>> model = tf.keras.Model(logmel, tf.keras.layers.Dense(3)(pooled))
        >>> save_model(model, Description.load("features"), Path("pooled"))
        >>> sorted(path.name for path in Path("pooled").iterdir())
        ['description.json', 'model.h5']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / _FUNCTION_NAME, ignore_errors=True)
    (folder / _MODEL_NAME).unlink(missing_ok=True)
    if _is_of_keras(model):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
            _save_layers(model, folder / _MODEL_NAME)
    else:
        _save_function(model, description, folder / _FUNCTION_NAME)
    description.save(folder)


def _is_of_keras(model: tf.keras.Model) -> bool:
    """Returns whether every part of a model is of a class that model files may name."""
    parts = (model, *model.submodules)
    return all(is_known(part) for part in parts if isinstance(part, tf.keras.layers.Layer))


def _save_layers(model: tf.keras.Model, path: Path) -> None:
    """Saves a model with the same bytes, whichever Keras this process has.

    Where transformers was imported, `tf.keras` is tf-keras, whose version has another number; a
    training that goes on after a kill may no longer need it.
    """
    import h5py

    with h5py.File(path, "w") as file:
        model.save(file, include_optimizer=False)
        for part in (file, file["model_weights"]):
            part.attrs.modify("keras_version", np.bytes_(tf.__version__))


def _save_function(model: tf.keras.Model, description: Description, path: Path) -> None:
    """Saves the function that a model computes, without its classes."""
    called_with = model.save_spec()
    if called_with is None:
        raise InputError(
            f"model: {model.name} was never called, so it has no weights yet; train it first."
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
    logger.setLevel(max(level, logging.WARNING))  # it would log the folder of the assets
    try:
        tf.saved_model.save(function, str(path))
    finally:
        logger.setLevel(level)


def _load_layers(path: Path) -> tf.keras.Model:
    """Reads a model of known layers, after a look at what the file would have Keras build."""
    import h5py

    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
        _refuse(path, unknown_classes(config))
        return tf.keras.models.load_model(file, compile=False)


def _refuse(path: Path, unknown: Iterable[str]) -> None:
    rule = f"{path}: a model file may hold layers of Keras and pure operators only, no other code"
    refuse(dict.fromkeys(unknown), rule, "Save the model with ser_nsl.networks.save_model.")


def _load_function(path: Path, description: Description) -> tf.keras.Model:
    """Makes a functional model of what `_save_function` has saved."""
    _refuse(path, unknown_operators(path))

    class SavedFunction(tf.keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name=_FUNCTION_NAME, trainable=False)
            self._function = tf.saved_model.load(str(path))

        def call(self, logmel: tf.Tensor) -> tf.Tensor:
            return self._function.serve(logmel)

    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    return tf.keras.Model(logmel, SavedFunction()(logmel))


def save_last_weights(network: tf.keras.Model, folder: Path) -> None:
    """Writes `last.weights.h5`, which `load_weights` of such a network reads.

    Args:
        network: Network at the end of an epoch.
        folder: Existing folder.
    """
    bare = tf.keras.Model(network.inputs, network.outputs)  # without the optimizer
    bare.save_weights(folder / _LAST_WEIGHTS_NAME)


def load_model(folder: Path) -> tuple[tf.keras.Model, Description]:
    """Reads a model folder.

    Args:
        folder: Folder that `save_model` wrote.

    No code of the folder is run.

    Returns:
        The model, not compiled, and the description. For a subclassed model this is a functional
        one that computes the same, but cannot be trained.

    Raises:
        InputError: If the folder is incomplete, its parts do not fit (the model takes more than the
            log Mel of the description, and an embedding), a weight is not finite, or
            the model names more than layers of Keras and operators without effects, such as a
            Lambda; or if it has not learned any class so far.

    Example:
        >>> model, description = load_model("model")
        >>> silence = tf.fill((1, *description.logmel_shape), -80.0)  # log Mel in dB
        >>> probabilities = tf.nn.softmax(model(silence))
        >>> dict(zip(description.classes, probabilities[0].numpy().round(3)))
        {...}
    """
    model, description = read_model(folder)
    if not description.classes:
        raise InputError(
            f"{folder}: has learned from speech without labels, so it knows no class; train it on "
            "labels with ser-nsl train-downstream --start."
        )
    shape, classes = model.output_shape, len(description.classes)
    if shape[1:] != (classes,):
        raise InputError(
            f"{folder}: the model has {shape[-1] if len(shape) == 2 else shape} outputs, the "
            f"description names {classes} classes; train the model again."
        )
    return model, description


def read_model(folder: Path) -> tuple[tf.keras.Model, Description]:
    """Reads a model folder as `load_model`, also one that knows no class and ends with fc1.

    Args:
        folder: Folder that `save_model` wrote.

    Raises:
        InputError: As `load_model`.
    """
    leave_tf_keras()
    description = Description.load(folder)
    path = Path(folder) / _MODEL_NAME
    if not path.is_file() and (Path(folder) / _FUNCTION_NAME).is_dir():
        path = path.with_name(_FUNCTION_NAME)
    if not path.exists():
        raise InputError(f"{folder}: {_MODEL_NAME} is missing; train the model again.")
    try:
        model = _load_function(path, description) if path.is_dir() else _load_layers(path)
    except InputError:
        raise
    except Exception as error:  # Keras raises whatever its layers do with a damaged file
        raise InputError(f"{path}: cannot be read ({error}); train the model again.") from error
    if not all(np.isfinite(weight).all() for weight in model.get_weights() if weight.dtype != bool):
        raise InputError(f"{path}: holds weights that are not finite; train the model again.")
    return _taking_logmel(model, description, path), description


def _taking_logmel(model: tf.keras.Model, description: Description, path: Path) -> tf.keras.Model:
    """Returns a model that takes `{"logmel": tensor}`, of one whose only input has any name."""
    inputs = dict(zip(model.input_names, model.inputs, strict=True))
    name, shape = "logmel" if "logmel" in inputs else [*inputs][0], description.logmel_shape
    fits = any(inputs[name].shape[1:].is_compatible_with(own) for own in (shape, (*shape, 1)))
    if not fits or inputs.keys() not in ({name}, {"logmel", "embedding"}):
        taken = ", ".join(f"{each} {tuple(value.shape[1:])}" for each, value in inputs.items())
        raise InputError(
            f"{path}: must take logmel {shape}, as the description beside it says, and at most an "
            f"embedding; it takes {taken}. Save both together with ser_nsl.networks.save_model."
        )
    if name == "logmel":
        return model
    logmel = tf.keras.Input(shape, name="logmel")
    return tf.keras.Model(logmel, model(logmel), name=model.name)


def check_description(description: Description, records: Path) -> None:
    """Checks that feature records fit a model.

    Args:
        description: Description of the model.
        records: Folder of feature records.

    Raises:
        InputError: If classes, front end or length differ.
    """
    other = Description.load(records)
    for name in ("classes", "front_end", "clip_samples"):
        expected, found = getattr(description, name), getattr(other, name)
        if expected != found:
            raise InputError(
                f"{records}: {name} must be as in the model's description, {expected}; received "
                f"{found}. Extract the features again with the model's settings."
            )
