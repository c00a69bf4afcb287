import numpy as np
import pytest
import tensorflow as tf
from mediapipe.tasks.metadata import schema_py_generated as schema

from ser_nsl.export.chain import chain


def converted(function, shape, name) -> bytes:
    spec = tf.TensorSpec(shape, tf.float32, name)
    concrete = tf.function(function).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    return converter.convert()


@pytest.fixture(scope="module")
def chained() -> bytes:
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    return chain(
        [
            converted(lambda x: {"y": tf.matmul(x, weights) + 1}, (1, 3), "x"),
            converted(lambda y: {"z": tf.matmul(y, 2 * weights) * y}, (1, 3), "y"),
            converted(lambda z: {"p": tf.nn.softmax(z)}, (1, 3), "z"),
        ]
    )


def test_output_of_each_is_the_input_of_the_next(chained):
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    x = np.array([[0.1, -0.2, 0.3]], np.float32)
    interpreter = tf.lite.Interpreter(model_content=chained)
    y = x @ weights + 1
    expected = tf.nn.softmax((y @ (2 * weights)) * y)

    result = interpreter.get_signature_runner()(x=x)

    assert result.keys() == {"p"}
    np.testing.assert_allclose(result["p"], expected, atol=1e-6)


def test_ends_are_those_of_first_and_last(chained):
    interpreter = tf.lite.Interpreter(model_content=chained)

    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["x"], "outputs": ["p"]}
    }
    assert [details["shape"].tolist() for details in interpreter.get_input_details()] == [[1, 3]]
    assert len(interpreter.get_output_details()) == 1


def test_tensors_have_names_of_their_own(chained):
    (graph,) = schema.ModelT.InitFromPackedBuf(chained).subgraphs
    names = [tensor.name for tensor in graph.tensors]

    assert len(set(names)) == len(names)


def test_a_part_may_take_outputs_of_several_before():
    two = tf.lite.TFLiteConverter.from_concrete_functions(
        [
            tf.function(lambda z, y: {"p": z - y}).get_concrete_function(
                *(tf.TensorSpec((1, 3), tf.float32, name) for name in "zy")
            )
        ],
        tf.Module(),
    ).convert()
    parts = [
        converted(lambda x: {"y": x + 1}, (1, 3), "x"),
        converted(lambda y: {"z": y * y}, (1, 3), "y"),
        two,
    ]
    x = np.array([[1.0, 2.0, 5.0]], np.float32)

    result = tf.lite.Interpreter(model_content=chain(parts)).get_signature_runner()(x=x)

    np.testing.assert_allclose(result["p"], (x + 1) ** 2 - (x + 1))
