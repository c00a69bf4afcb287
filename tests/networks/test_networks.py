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
    "cnn_tdnn": 509_527,
}


@pytest.fixture(scope="module")
def logmel(description) -> np.ndarray:
    """Seven clips in dB, spread about the mean of each band."""
    noise = np.random.default_rng(0).normal(size=(7, *description.logmel_shape))
    return (noise * description.deviation + description.mean).astype(np.float32)


def make_network(name, description, logmel) -> tf.keras.Model:
    """A network with random weights, normalised with the statistics of these clips."""
    tf.keras.utils.set_random_seed(0)
    network = NETWORKS[name](description)
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(logmel, training=True)
    return network


@pytest.fixture(scope="module")
def small(description, logmel) -> tf.keras.Model:
    return make_network("resnet9_quarter", description, logmel)


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_registry_names_the_networks():
    assert NETWORKS.keys() == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_paper(name):
    classes = tuple("abcdefg")
    clips = Description(FrontEndConfig(), 95_744, classes, (0.0,) * 64, (1.0,) * 64)

    network = NETWORKS[name](clips)

    assert clips.logmel_shape == (373, 64)
    assert network.count_params() == PARAMETERS[name]


@pytest.mark.parametrize(
    "name",
    [
        "cnn6",
        "resnet9_quarter",
        "cnn_tdnn",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in PARAMETERS
            if name not in ("cnn6", "resnet9_quarter", "cnn_tdnn")
        ),
    ],
)
def test_embeddings_and_logits_of_each_clip_alone(name, description, logmel, tmp_path):
    network = make_network(name, description, logmel)
    tapped = tf.keras.Model(network.input, [network.get_layer("fc1").output, network.output])

    fc1, logits = tapped(logmel)

    assert network.name == name
    assert network.input_names == ["logmel"]
    assert network.layers[-1].name == "fc2"
    assert fc1.shape == (7, 256)
    assert logits.shape == (7, 3)
    assert np.min(fc1) >= 0 < np.max(fc1)  # ReLU
    assert np.min(logits) < 0 or not np.allclose(np.sum(logits, axis=1), 1)  # no softmax
    assert len(np.unique(np.asarray(logits)[:, 0])) == 7
    close(network(logmel[2:3]), logits[2:3])
    save_model(network, description, tmp_path)
    np.testing.assert_array_equal(load_model(tmp_path)[0](logmel), logits)


@pytest.mark.parametrize("name", ["cnn6", "resnet9_quarter", "mobilenet15"])
def test_logits_are_float32_in_any_precision(name, description):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        network = NETWORKS[name](description)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")

    assert network.output.dtype == tf.float32
    assert network.get_layer("fc1").output.dtype == tf.float16


def test_cnn_tdnn_pools_mean_and_half_the_mean_absolute_deviation(description, logmel):
    network = make_network("cnn_tdnn", description, logmel)
    outputs = [network.get_layer("frames").output, network.get_layer("fc1").input]

    frames, pooled = (np.asarray(each) for each in tf.keras.Model(network.input, outputs)(logmel))

    assert frames.shape[1:] == (-(-logmel.shape[1] // 8), 160)
    mean = frames.mean(axis=1)
    deviation = np.abs(frames - mean[:, np.newaxis]).mean(axis=1)
    close(pooled, np.concatenate([mean, deviation / 2], axis=1))


def test_each_band_is_standardised_first(small, description, logmel):
    plain = NETWORKS["resnet9_quarter"](
        replace(description, mean=(0.0,) * 32, deviation=(1.0,) * 32)
    )
    plain.set_weights(small.get_weights())
    mean, deviation = np.array(description.mean), np.array(description.deviation)
    standardised = (logmel - mean) / deviation

    close(small(logmel), plain(standardised))
    assert not np.allclose(plain(logmel), plain(standardised), rtol=0.1)


@pytest.mark.slow
def test_eager_graph_and_tf_data_agree(small, logmel):
    eager = small(logmel)

    close(tf.function(small)(logmel), eager)
    close(small.predict(tf.data.Dataset.from_tensor_slices(logmel).batch(3), verbose=0), eager)
