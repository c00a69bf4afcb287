from dataclasses import replace

import pytest
import tensorflow as tf

from ser_nsl.config import FrontEndConfig
from ser_nsl.downstream.blocks import classify, logmel_input
from ser_nsl.downstream.saved import check_description, load_model, save_model
from ser_nsl.errors import InputError


@pytest.fixture
def folder(description, tmp_path):
    """A saved model without convolutions."""
    logmel, x = logmel_input(description)
    save_model(classify(logmel, x, description, "flat"), description, tmp_path)
    return tmp_path


def test_two_files_make_a_model(folder):
    assert {path.name for path in folder.iterdir()} == {"model.h5", "description.json"}
    model, _ = load_model(folder)
    assert isinstance(model, tf.keras.Model)


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

    with pytest.raises(InputError, match=f"its {next(iter(change))} .* the model was trained with"):
        check_description(description, tmp_path)


def test_the_models_own_constants_count(description, tmp_path):
    replace(description, mean=(0.0,) * 32).save(tmp_path)

    assert check_description(description, tmp_path) == description
