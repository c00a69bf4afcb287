"""Keras to TensorFlow Lite, with the front end inside."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import tensorflow as tf
from mediapipe.tasks.metadata import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from ser_nsl.config import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.features import Description
from ser_nsl.frontend import log_mel


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


def to_tflite(model: tf.keras.Model, description: Description) -> bytes:
    """Converts a model and its front end to float32 TensorFlow Lite.

    Only built-in operators are used, so any TFLite runtime can run the result.

    Args:
        model: From log Mel in dB to logits.
        description: Of the features that it was trained on.

    Returns:
        The flatbuffer. Its one signature has the input `waveform`, float32 of shape
        `(1, clip_samples)`, and the output `probabilities`, float32 of shape `(1, classes)`.

    Raises:
        InputError: If a layer needs an operator that is not built in.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((1, description.clip_samples), tf.float32, name="waveform")]
    )
    def recognise(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities(model, description.front_end, waveform)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [recognise.get_concrete_function()], trackable_obj=model
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        with _quiet_converter():
            return converter.convert()
    except ConverterError as error:
        lacking = sorted({each.operator.name for each in error.errors})
        if not lacking:
            raise
        raise InputError(
            f"{model.name}: needs {', '.join(lacking)}, which TFLite has no built-in operator "
            "for; replace the layer that uses it."
        ) from error


@contextlib.contextmanager
def _quiet_converter() -> Iterator[None]:
    """Holds back the statistics that the converter writes to the process's standard error.

    They name constants "non-converted", which reads like a failure; what does fail is raised.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)


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
