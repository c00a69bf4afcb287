import importlib

import librosa
import numpy as np
import pytest
import tensorflow as tf
from mediapipe.tasks.metadata import schema_py_generated as schema
from scipy.special import softmax

from ser_nsl.audio.front_end import log_mel
from ser_nsl.errors import InputError
from ser_nsl.export.convert import front_end_to_tflite, operators, to_tflite


@pytest.fixture
def waveform(description) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (1, description.clip_samples)).astype("float32")


@pytest.mark.parametrize("runtime", ["ai_edge_litert", "tflite_runtime"])
def test_runtimes_give_what_librosa_and_keras_give(
    runtime, recogniser, model, description, waveform
):
    power = librosa.feature.melspectrogram(
        y=waveform[0], sr=16_000, n_fft=512, hop_length=256, center=False, n_mels=16
    )
    of_frames = power.mean(axis=0)
    level = np.average(of_frames, weights=of_frames)
    logmel = librosa.power_to_db(power / level, amin=1e-4, top_db=None).T
    expected = softmax(model.predict(logmel[np.newaxis], verbose=0), axis=1)

    interpreter = importlib.import_module(f"{runtime}.interpreter").Interpreter(str(recogniser))
    recognise = interpreter.get_signature_runner("serving_default")
    result = recognise(waveform=waveform)["probabilities"]

    assert result.shape == (1, len(description.classes))
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_one_waveform_in_built_in_operators_only(flatbuffer, description):
    (details,) = tf.lite.Interpreter(model_content=flatbuffer).get_input_details()
    found = operators(flatbuffer)

    assert details["shape"].tolist() == [1, description.clip_samples]
    assert details["dtype"] == np.float32
    assert {"BATCH_MATMUL", "CONV_2D", "SOFTMAX"} <= set(found)
    assert not {"CUSTOM", "GATHER"} & set(found)


@pytest.mark.parametrize("form", ["float32", "int8"])
@pytest.mark.parametrize("decibels", [-40, -30, 6])
def test_a_gain_changes_no_answer(form, decibels, model, description, waveform):
    logmel = log_mel(waveform, description.front_end).numpy()
    interpreter = tf.lite.Interpreter(model_content=to_tflite(model, description, form, logmel))
    recognise = interpreter.get_signature_runner()

    as_is, changed = (
        recognise(waveform=waveform * np.float32(10 ** (gain / 20)))["probabilities"]
        for gain in (0, decibels)
    )

    np.testing.assert_allclose(changed, as_is, atol=1e-4 if form == "float32" else 0.01)


def kinds_by_operator(flatbuffer: bytes) -> list[tuple[int, set[int]]]:
    """Code of each operator, and the types of the tensors that it reads and writes."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer)
    graph = model.subgraphs[0]
    return [
        (
            model.operatorCodes[operator.opcodeIndex].builtinCode,
            {graph.tensors[i].type for i in (*operator.inputs, *operator.outputs) if i >= 0},
        )
        for operator in graph.operators
    ]


@pytest.mark.parametrize(
    ("form", "kind"), [("float16", schema.TensorType.FLOAT16), ("int8", schema.TensorType.INT8)]
)
def test_forms_keep_the_front_end_exact(form, kind, model, description, flatbuffer, waveform):
    logmel = log_mel(waveform, description.front_end).numpy()
    converted = to_tflite(model, description, form, logmel)
    front_end = kinds_by_operator(front_end_to_tflite(description))
    found = kinds_by_operator(converted)

    result, exact = (
        tf.lite.Interpreter(model_content=content).get_signature_runner()(waveform=waveform)
        for content in (converted, flatbuffer)
    )

    assert found[: len(front_end)] == front_end
    assert not any({schema.TensorType.FLOAT16, schema.TensorType.INT8} & k for _, k in front_end)
    assert any(kind in kinds for _, kinds in found[len(front_end) : -1])
    assert found[-1] == (schema.BuiltinOperator.SOFTMAX, {schema.TensorType.FLOAT32})
    np.testing.assert_allclose(result["probabilities"], exact["probabilities"], atol=0.05)


def test_front_end_alone(description, waveform):
    interpreter = tf.lite.Interpreter(model_content=front_end_to_tflite(description))

    logmel = interpreter.get_signature_runner()(waveform=waveform)["logmel"]

    np.testing.assert_allclose(logmel, log_mel(waveform, description.front_end), atol=1e-3)


def test_same_model_same_bytes(model, description, flatbuffer):
    assert to_tflite(model, description) == flatbuffer


def test_layer_without_built_in_operator_is_refused(model, description):
    logits = tf.keras.layers.Lambda(tf.math.bessel_i0e)(model.output)
    odd = tf.keras.Model(model.input, logits, name="odd")

    with pytest.raises(InputError, match=r"odd: needs tf\.BesselI0e"):
        to_tflite(odd, description)
