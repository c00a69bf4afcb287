"""Keras to TensorFlow Lite, with the front end inside."""

import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from mediapipe.tasks.metadata import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.errors import InputError
from ser_nsl.export.answers import Answers
from ser_nsl.export.chain import chain
from ser_nsl.export.settings import Form


def to_tflite(
    model: tf.keras.Model,
    description: Description,
    form: Form = "float32",
    calibration: Iterable[np.ndarray] = (),
    answers: Answers = Answers(),  # noqa: B008 (frozen)
) -> bytes:
    """Converts a model and its front end to TensorFlow Lite.

    Only built-in operators are used, so every TFLite runtime can run the result. All but the
    network stays in 32 bits in every form: 8 bits are too coarse for decibels and probabilities.

    Args:
        model: Keras model from log Mel in dB to logits.
        description: Description of the features that it was trained on.
        form: Form of the network.
        calibration: Log Mel in dB of typical clips, float32, shape `(clips, frames, mels)`; int8
            takes the ranges of its 8-bit numbers from them.
        answers: How logits become answers.

    Returns:
        The flatbuffer. Its one signature has the input `waveform`, float32 of shape
        `(1, clip_samples)`, and the output `probabilities`, float32 of shape `(1, labels)`.

    Raises:
        InputError: If a layer needs an operator that is not built in.
    """

    def network(logmel: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": model(logmel, training=False)}

    def ending(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": answers.from_logits(**inputs)}

    logmel, logits = (1, *description.logmel_shape), (1, len(description.classes))
    parts = [
        front_end_to_tflite(description),
        _convert(network, model, form, calibration, logmel=logmel),
    ]
    if answers.detector is None:
        return chain([*parts, _convert(ending, logits=logits)])
    detector = answers.detector
    speech = _convert(lambda logmel: {"odds": detector(logmel)}, detector, logmel=logmel)
    return chain([*parts, speech, _convert(ending, logits=logits, odds=(1, 1))])


@functools.lru_cache(maxsize=1)  # all forms of a recogniser share it
def front_end_to_tflite(description: Description) -> bytes:
    """Converts the front end alone.

    Args:
        description: Description of the features.

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
    calibration: Iterable[np.ndarray] = (),
    **inputs: tuple[int, ...],
) -> bytes:
    """Converts a function of float32 tensors of these shapes, of a model or of none."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name) for name, shape in inputs.items()}
    concrete = tf.function(function, autograph=model is not None).get_concrete_function(**specs)
    # Given the model itself, the converter would first trace each of its layers again.
    owner = tf.Module()
    owner.kept = concrete.variables
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=owner)
    if form != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form == "int8":
        converter.representative_dataset = lambda: ([clip[np.newaxis]] for clip in calibration)
    try:
        with _quiet_converter():
            return converter.convert()
    except ConverterError as error:
        missing = sorted({entry.operator.name for entry in error.errors})
        if not missing:
            raise
        name = "the front end" if model is None else model.name
        raise InputError(
            f"{name}: needs {', '.join(missing)}, which TFLite has no built-in operator for; "
            "replace the layer that uses it."
        ) from error


@contextlib.contextmanager
def _quiet_converter() -> Iterator[None]:
    """Hides the statistics that the converter writes to the process's standard error.

    They call constants "non-converted", which looks like a failure; real failures are raised. In
    notebooks, where TensorFlow logs more, they would name its temporary folders too.
    """
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            logger.setLevel(level)


def operators(tflite: bytes) -> list[str]:
    """Lists the operators of a model.

    Args:
        tflite: The flatbuffer.

    Returns:
        Their names in the TFLite schema, sorted and without duplicates; `CUSTOM` stands for any
        operator that is not built in.
    """
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    codes = schema.ModelT.InitFromPackedBuf(tflite).operatorCodes
    # Codes below 128 may be in the older of the two fields.
    return sorted({names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes})
