import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.networks import NETWORKS
from ser_nsl.training.transfer import with_embedding


@pytest.fixture
def network() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    logmel = tf.keras.Input((4, 3), name="logmel")
    x = tf.keras.layers.Flatten()(logmel)
    x = tf.keras.layers.Dense(256, activation="relu", name="fc1")(x)
    return tf.keras.Model(logmel, tf.keras.layers.Dense(2, name="fc2")(x), name="flat")


@pytest.mark.parametrize(
    ("method", "merge"), [("add", np.add), ("max", np.maximum), ("avg", lambda a, b: (a + b) / 2)]
)
def test_embedding_joins_fc1(method, merge, network):
    random = np.random.default_rng(0)
    logmel = random.normal(size=(5, 4, 3)).astype(np.float32)
    embedding = random.normal(size=(5, 256)).astype(np.float32)

    joined = with_embedding(network, method)
    logits = joined({"logmel": logmel, "embedding": embedding})

    (kernel1, bias1), (kernel2, bias2) = (
        network.get_layer(name).get_weights() for name in ("fc1", "fc2")
    )
    fc1 = np.maximum(logmel.reshape(5, 12) @ kernel1 + bias1, 0)
    np.testing.assert_allclose(logits, merge(fc1, embedding) @ kernel2 + bias2, atol=1e-5)
    assert joined.input_names == ["logmel", "embedding"]
    assert joined.name == f"flat_{method}"


def test_layers_are_shared(network):
    joined = with_embedding(network, "add")

    assert joined.get_layer("fc1") is network.get_layer("fc1")
    assert joined.count_params() == network.count_params()


@pytest.mark.parametrize("name", ["resnet9_quarter", "mobilenet15"])
def test_networks_take_an_embedding(name):
    tf.keras.backend.clear_session()  # names of layers are those of a new process
    mean, deviation = (0.0,) * 64, (1.0,) * 64
    description = Description(FrontEndConfig(), 32_000, ("joy", "anger"), mean, deviation)

    joined = with_embedding(NETWORKS[name](description), "add")

    assert joined.output_shape == (None, 2)
