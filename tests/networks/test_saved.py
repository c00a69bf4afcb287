from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.networks.blocks import classify, logmel_input
from ser_nsl.networks.saved import check_description, load_model, save_model


class OwnPooling(tf.keras.layers.Layer):
    """A layer that no other process knows."""

    def call(self, x):
        return tf.reduce_max(x, axis=1)


class OwnNetwork(tf.keras.Model):
    """A subclassed network."""

    def __init__(self, classes: int, *, takes_names: bool = True):
        super().__init__(name="own")
        self.takes_names = takes_names
        self.normalisation = tf.keras.layers.BatchNormalization()
        self.head = tf.keras.layers.Dense(classes, name="head")

    def call(self, inputs, training=False):
        logmel = inputs["logmel"] if self.takes_names else inputs
        return self.head(tf.reduce_mean(self.normalisation(logmel, training=training), axis=1))


@pytest.fixture
def logmel(description) -> tf.Tensor:
    random = np.random.default_rng(0)
    return tf.constant(random.normal(-40, 10, (5, *description.logmel_shape)), tf.float32)


@pytest.fixture
def folder(description, tmp_path):
    """A saved model without convolutions."""
    logmel, x = logmel_input(description)
    save_model(classify(logmel, x, description, "flat"), description, tmp_path)
    return tmp_path


@pytest.mark.parametrize("takes_names", [True, False])
def test_subclassed_network_comes_back_without_its_class(
    takes_names, description, logmel, tmp_path
):
    network = OwnNetwork(3, takes_names=takes_names)
    network({"logmel": logmel} if takes_names else logmel, training=True)
    expected = network({"logmel": logmel} if takes_names else logmel)

    save_model(network, description, tmp_path / "made" / "here")
    loaded, _ = load_model(tmp_path / "made" / "here")

    assert loaded.input_names == ["logmel"]
    np.testing.assert_array_equal(loaded(logmel), expected)
    np.testing.assert_allclose(loaded.predict({"logmel": logmel}, verbose=0), expected, atol=1e-4)


def test_layer_of_ones_own_comes_back_without_its_class(description, logmel, tmp_path):
    inputs = tf.keras.Input(description.logmel_shape, name="logmel")
    network = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(OwnPooling()(inputs)))

    save_model(network, description, tmp_path)
    loaded, _ = load_model(tmp_path)

    np.testing.assert_array_equal(loaded(logmel), network(logmel))


def test_the_model_saved_last_counts(description, logmel, folder):
    network = OwnNetwork(3)
    network({"logmel": logmel})
    save_model(network, description, folder)
    assert {path.name for path in folder.iterdir()} == {"saved_function", "description.json"}

    logmel_tensor, x = logmel_input(description)
    save_model(classify(logmel_tensor, x, description, "flat"), description, folder)
    assert {path.name for path in folder.iterdir()} == {"model.h5", "description.json"}


def test_subclassed_network_must_have_been_called(description, tmp_path):
    with pytest.raises(InputError, match="own was never called"):
        save_model(OwnNetwork(3), description, tmp_path)


@pytest.mark.parametrize("name", ["model.h5", "description.json"])
def test_missing_file_is_named(name, folder):
    (folder / name).unlink()

    with pytest.raises(InputError, match=f"{name} is missing"):
        load_model(folder)


def test_damaged_model_is_refused(folder):
    model = folder / "model.h5"
    model.write_bytes(model.read_bytes()[:1000])

    with pytest.raises(InputError, match=r"model\.h5: cannot be read"):
        load_model(folder)


def test_description_of_other_classes_is_refused(folder, description):
    replace(description, classes=("a", "b")).save(folder)

    with pytest.raises(InputError, match="the model has 3 outputs, the description names 2"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("b", "a", "c")},
        {"front_end": FrontEndConfig(mel_bins=32, high_hz=4_000.0)},
        {"clip_samples": 16_000},
    ],
)
def test_features_of_another_kind_are_refused(change, description, tmp_path):
    replace(description, **change).save(tmp_path)

    with pytest.raises(
        InputError, match=f"{next(iter(change))} must be as in the model's description"
    ):
        check_description(description, tmp_path)


def test_features_may_have_other_means(description, tmp_path):
    replace(description, mean=(0.0,) * 32).save(tmp_path)

    check_description(description, tmp_path)
