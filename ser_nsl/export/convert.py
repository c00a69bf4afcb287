"""Keras to TensorFlow Lite, with the front end inside."""

import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import tensorflow as tf
from mediapipe.tasks.metadata import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.export.chain import chain

Form = Literal["float32", "float16", "dynamic", "int8"]
"""How the network's numbers are kept: 32 or 16 bits; weights in 8 bits; activations too."""


def probabilities(
    model: tf.keras.Model, front_end: FrontEndConfig, waveform: tf.Tensor
) -> tf.Tensor:
    """Computes what an exported file computes.

    Args:
        model: From log Mel in dB to logits.
        front_end: From waveform to log Mel.
        waveform: float32, shape `(batch, samples)`, in [-1, 1].

    Returns:
        float32, shape `(batch, classes)`, in [0, 1]; each row adds up to 1.
    """
    return tf.nn.softmax(model(log_mel(waveform, front_end), training=False))


def to_tflite(
    model: tf.keras.Model,
    description: Description,
    form: Form = "float32",
    examples: Iterable[np.ndarray] = (),
) -> bytes:
    """Converts a model and its front end to TensorFlow Lite.

    Only built-in operators are used, so any TFLite runtime can run the result. Front end and
    softmax keep their 32 bits in every form: in decibels and probabilities, 8 would show.

    Args:
        model: From log Mel in dB to logits.
        description: Of the features that it was trained on.
        form: Of the network.
        examples: For int8: log Mel in dB such as the network will hear, float32, shape
            `(clips, frames, mels)`, by which the ranges of 8 bits are chosen.

    Returns:
        The flatbuffer. Its one signature has the input `waveform`, float32 of shape
        `(1, clip_samples)`, and the output `probabilities`, float32 of shape `(1, classes)`.

    Raises:
        InputError: If a layer needs an operator that is not built in.
    """

    def recognise(logmel: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": model(logmel, training=False)}

    def say(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(logits)}

    return chain(
        [
            front_end_to_tflite(description),
            _convert(recognise, model, form, examples, logmel=(1, *description.logmel_shape)),
            _convert(say, logits=(1, len(description.classes))),
        ]
    )


@functools.lru_cache(maxsize=1)  # all forms of a recogniser share it
def front_end_to_tflite(description: Description) -> bytes:
    """Converts the front end alone.

    Args:
        description: Of the features.

    Returns:
        The flatbuffer, from `waveform` to `logmel`, float32 of shape `(1, frames, mels)`.
    """
    return _convert(
        lambda waveform: {"logmel": log_mel(waveform, description.front_end)},
        waveform=(1, description.clip_samples),
    )


def _convert(
    function: Callable[..., dict[str, tf.Tensor]],
    model: tf.keras.Model | None = None,
    form: Form = "float32",
    examples: Iterable[np.ndarray] = (),
    **inputs: tuple[int, ...],
) -> bytes:
    """Converts a function of float32 tensors of these shapes, with the variables of a model."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name) for name, shape in inputs.items()}
    concrete = tf.function(function).get_concrete_function(**specs)
    owner = tf.Module() if model is None else model  # without one there is no signature
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=owner)
    if form != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form == "int8":
        converter.representative_dataset = lambda: ([each[np.newaxis]] for each in examples)
    try:
        with _quiet_converter():
            return converter.convert()
    except ConverterError as error:
        lacking = sorted({each.operator.name for each in error.errors})
        if not lacking:
            raise
        name = "the front end" if model is None else model.name
        raise InputError(
            f"{name}: needs {', '.join(lacking)}, which TFLite has no built-in operator for; "
            "replace the layer that uses it."
        ) from error


@contextlib.contextmanager
def _quiet_converter() -> Iterator[None]:
    """Holds back the statistics that the converter writes to the process's standard error.

    They name constants "non-converted", which reads like a failure; what does fail is raised. In
    notebooks, where TensorFlow tells more, it would name its temporary folders too.
    """
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            logger.setLevel(level)


def operators(tflite: bytes) -> list[str]:
    """Lists the operators of a model.

    Args:
        tflite: The flatbuffer.

    Returns:
        Their names in the TFLite schema, sorted, each once; `CUSTOM` stands for any operator
        that is not built in.
    """
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAs(tflite)
    codes = (model.OperatorCodes(i) for i in range(model.OperatorCodesLength()))
    # Codes below 128 stand in the older of the two fields too.
    return sorted({names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes})
