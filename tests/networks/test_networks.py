from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.networks import NETWORKS
from ser_nsl.networks.saved import load_model, save_model

# arXiv 2210.14977 for the first three, rounded there to 14.86, 4.96 and 4.44 million.
PARAMETERS = {
    "vgg15": 14_859_335,
    "resnet9": 4_960_583,
    "resnet9_quarter": 338_519,
    "cnn6": 4_439_367,
    "mobilenet15": 674_695,
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def logmel(description) -> np.ndarray:
    """Seven clips in dB, spread about the mean of each band."""
    noise = np.random.default_rng(0).normal(size=(7, *description.logmel_shape))
    return (noise * description.deviation + description.mean).astype(np.float32)


@pytest.fixture(scope="module")
def network(name, description, logmel) -> tf.keras.Model:
    """A network with random weights whose normalisations have taken in these clips."""
    tf.keras.utils.set_random_seed(0)
    network = NETWORKS[name](description)
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(logmel, training=True)
    return network


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_registry_names_the_networks():
    assert NETWORKS.keys() == PARAMETERS.keys()


def test_parameters_are_those_of_the_paper(name):
    classes = tuple("abcdefg")
    clips = Description(FrontEndConfig(), 95_744, classes, (0.0,) * 64, (1.0,) * 64)

    network = NETWORKS[name](clips)

    assert clips.logmel_shape == (373, 64)
    assert network.count_params() == PARAMETERS[name]


@pytest.mark.parametrize("batch", [1, 7])
def test_logits_and_embeddings(batch, name, network, logmel):
    tapped = tf.keras.Model(network.input, [network.get_layer("fc1").output, network.output])

    fc1, logits = tapped(logmel[:batch])

    assert network.name == name
    assert network.input_names == ["logmel"]
    assert network.layers[-1].name == "fc2"
    assert fc1.shape == (batch, 256)
    assert logits.shape == (batch, 3)
    assert logits.dtype == tf.float32
    assert np.min(fc1) >= 0 < np.max(fc1)  # ReLU
    assert np.min(logits) < 0 or not np.allclose(np.sum(logits, axis=1), 1)  # no softmax


def test_each_band_is_standardised_first(name, network, description, logmel):
    plain = NETWORKS[name](replace(description, mean=(0.0,) * 32, deviation=(1.0,) * 32))
    plain.set_weights(network.get_weights())
    mean, deviation = np.array(description.mean), np.array(description.deviation)
    standardised = (logmel - mean) / deviation

    close(network(logmel), plain(standardised))
    assert not np.allclose(plain(logmel), plain(standardised), rtol=0.1)


def test_clips_of_a_batch_do_not_mix(network, logmel):
    together = network(logmel)

    close(network(logmel[2:3]), together[2:3])
    assert len(np.unique(np.asarray(together)[:, 0])) == len(logmel)


def test_eager_graph_and_tf_data_agree(network, logmel):
    eager = network(logmel)

    close(tf.function(network)(logmel), eager)
    close(network.predict(tf.data.Dataset.from_tensor_slices(logmel).batch(3), verbose=0), eager)


def test_saved_model_gives_the_same(network, description, logmel, tmp_path):
    save_model(network, description, tmp_path)
    loaded, loaded_description = load_model(tmp_path)

    np.testing.assert_array_equal(loaded(logmel), network(logmel))
    assert loaded_description == description
