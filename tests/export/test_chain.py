import numpy as np
import pytest
import tensorflow as tf

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
