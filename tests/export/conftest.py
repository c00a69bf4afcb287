from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.export.convert import to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.networks.blocks import logmel_input


def make_model(description: Description, seed: int) -> tf.keras.Model:
    logmel, x = logmel_input(description)
    x = tf.keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    x = tf.keras.layers.GlobalMaxPooling2D()(x)
    logits = tf.keras.layers.Dense(len(description.classes))(x)
    model = tf.keras.Model(logmel, logits, name="tiny")
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="session")
def description() -> Description:
    front_end = FrontEndConfig(mel_bins=16)
    return Description(front_end, 8000, ("angry", "happy", "sad"), (-40.0,) * 16, (15.0,) * 16)


@pytest.fixture(scope="session")
def model(description) -> tf.keras.Model:
    return make_model(description, seed=0)


@pytest.fixture(scope="session")
def other_model(description) -> tf.keras.Model:
    return make_model(description, seed=1)


@pytest.fixture(scope="session")
def flatbuffer(model, description) -> bytes:
    return to_tflite(model, description)


@pytest.fixture(scope="session")
def other_flatbuffer(other_model, description) -> bytes:
    return to_tflite(other_model, description)


@pytest.fixture(scope="session")
def card(description) -> Card:
    samples = description.clip_samples
    return Card("Tiny", "7", description.classes, 16_000, samples, "Ada", "Mind the corpus.")


@pytest.fixture(scope="session")
def recogniser(flatbuffer, card, tmp_path_factory):
    path = tmp_path_factory.mktemp("recogniser") / "tiny.tflite"
    path.write_bytes(add_metadata(flatbuffer, card))
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A manifest of ten clips, of all splits, with their audio. Not to be changed."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    lines = ["utterance_id,path,speaker,gender,emotion,split,duration_seconds,corpus"]
    for i in range(10):
        soundfile.write(folder / f"{i}.wav", random.normal(0, 0.1, 4000 + 1000 * i), 16_000)
        split = ("train", "test", "train", "val")[i % 4]
        lines.append(f"clip{i},{i}.wav,{split},female,angry,{split},{(4 + i) / 16},tiny")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder
