import json
from dataclasses import replace
from pathlib import Path

import h5py
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


def rewrite(path: Path, change) -> None:
    """Changes the architecture that a model file names."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config)


def lambda_file(folder: Path, description) -> None:
    """Keras's own file of a model with a Lambda, which writes a file when it is built."""

    def evil(x, path=str(folder / "evil")):
        __import__("pathlib").Path(path).touch()
        return x[:, 0, :3]

    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    with pytest.warns(UserWarning, match="HDF5"):
        tf.keras.Model(logmel, tf.keras.layers.Lambda(evil)(logmel)).save(folder / "model.h5")
    (folder / "evil").unlink()


def module_file(folder: Path, description) -> None:
    """Keras would import any module, and call what it finds there."""
    system = {
        "module": "os",
        "class_name": "system",
        "registered_name": None,
        "config": {"command": f"touch {folder / 'evil'}"},
    }
    rewrite(
        folder / "model.h5", lambda layers: layers[-1]["config"].update(kernel_initializer=system)
    )


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda_file, "Lambda"),
        (module_file, r"os\.system"),
        (
            lambda folder, _: rewrite(
                folder / "model.h5", lambda layers: layers[3].update(class_name="TFOpLambda")
            ),
            "TFOpLambda",
        ),
        (
            lambda folder, _: rewrite(
                folder / "model.h5",
                lambda layers: layers[-1]["config"].update(
                    activation={"class_name": "__lambda__", "config": {"value": "x"}}
                ),
            ),
            "__lambda__",
        ),
    ],
)
def test_file_with_code_is_refused_before_anything_is_built(make, named, folder, description):
    make(folder, description)

    with pytest.raises(InputError, match=rf"model\.h5: .* other code .*first: {named}"):
        load_model(folder)

    assert not (folder / "evil").exists()


def test_saved_function_with_effects_is_refused(description, tmp_path):
    class Evil(tf.keras.layers.Layer):
        def call(self, x):
            tf.io.write_file(str(tmp_path / "evil"), tf.strings.as_string(x[0, 0, 0]))
            return x[:, 0, :3]

    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    save_model(tf.keras.Model(logmel, Evil()(logmel)), description, tmp_path)
    (tmp_path / "evil").unlink(missing_ok=True)

    with pytest.raises(InputError, match=r"saved_function: .* other code .*first: WriteFile"):
        load_model(tmp_path)

    assert not (tmp_path / "evil").exists()


def test_layers_of_keras_and_operators_of_tensorflow_come_back(description, logmel, tmp_path):
    layers = tf.keras.layers
    inputs = tf.keras.Input(description.logmel_shape, name="logmel")
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(inputs)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    l2 = tf.keras.regularizers.L2()  # "l2" is tf_keras's once transformers has imported that
    plain = tf.keras.Model(
        inputs, layers.Dense(3, kernel_regularizer=l2)(layers.GlobalMaxPooling1D()(x))
    )
    with_operators = tf.keras.Model(inputs, layers.Dense(3)(tf.nn.relu(x)[:, 0] + 1.0))

    for network, name in ((plain, "model.h5"), (with_operators, "saved_function")):
        save_model(network, description, tmp_path / name)
        assert (tmp_path / name / name).exists()
        loaded, _ = load_model(tmp_path / name)
        np.testing.assert_allclose(loaded(logmel), network(logmel), atol=1e-5)


def test_weights_that_are_not_finite_are_refused(folder):
    with h5py.File(folder / "model.h5", "a") as file:
        file["model_weights/fc1/fc1/bias:0"][0] = np.nan

    with pytest.raises(InputError, match=r"model\.h5: holds weights that are not finite"):
        load_model(folder)


def test_description_of_other_classes_is_refused(folder, description):
    replace(description, classes=("a", "b")).save(folder)

    with pytest.raises(InputError, match="the model has 3 outputs, the description names 2"):
        load_model(folder)


@pytest.mark.parametrize(
    ("extra", "inputs"),
    [
        ((5, 0), {}),  # another length
        ((0, 1), {}),  # another number of bands
        ((0, 0), {"age": (2,)}),
    ],
)
def test_model_that_does_not_take_what_the_description_says_is_refused(
    extra, inputs, folder, description
):
    shape = tuple(np.add(description.logmel_shape, extra))
    logmel = tf.keras.Input(shape, name="logmel")
    others = [tf.keras.Input(own, name=name) for name, own in inputs.items()]
    pooled = tf.keras.layers.GlobalAveragePooling1D()(logmel)
    output = tf.keras.layers.Dense(3)(tf.keras.layers.concatenate([pooled, *others, pooled]))
    save_model(tf.keras.Model([logmel, *others], output), description, folder)

    words = rf"model\.h5: must take logmel \({description.logmel_shape[0]}.*it takes logmel"
    with pytest.raises(InputError, match=words):
        load_model(folder)


def test_classes_of_frames_are_refused(folder, description):
    logmel = tf.keras.Input(description.logmel_shape, name="logmel")
    save_model(tf.keras.Model(logmel, tf.keras.layers.Dense(3)(logmel)), description, folder)

    with pytest.raises(InputError, match="outputs, the description names 3 classes"):
        load_model(folder)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_input_of_any_name_is_the_logmel(shape, description, logmel, tmp_path):
    given = tf.keras.Input((*description.logmel_shape, *shape), name="clip")
    flat = tf.keras.layers.Flatten()(given)
    model = tf.keras.Model(given, tf.keras.layers.Dense(3)(flat))
    save_model(model, description, tmp_path)

    loaded, _ = load_model(tmp_path)

    expected = model(tf.reshape(logmel, (5, *given.shape[1:])))
    np.testing.assert_array_equal(loaded({"logmel": logmel}), expected)


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
