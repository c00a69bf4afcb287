import threading
from collections.abc import Callable, Iterator
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
from ser_nsl.web.server import PACKAGES, PageServer

RATE = 16_000
LABELS = ("low", "middle", "high")
BANDS = 15
PITCHES = {"low": 200, "middle": 1_000, "high": 5_000}


@pytest.fixture(scope="session")
def recogniser(tmp_path_factory) -> Path:
    """Tells whether one second sounds low, middle or high: what it answers is known beforehand."""
    front_end = FrontEndConfig(mel_bins=BANDS)
    description = Description(front_end, RATE, LABELS, (-40.0,) * BANDS, (15.0,) * BANDS)
    logmel, x = logmel_input(description)
    x = tf.keras.layers.AveragePooling2D((description.logmel_shape[0], 1))(x)
    logits = tf.keras.layers.Dense(len(LABELS), use_bias=False)(tf.keras.layers.Flatten()(x))
    model = tf.keras.Model(logmel, logits)
    thirds = np.repeat(np.eye(len(LABELS)), BANDS // len(LABELS), axis=0)
    model.set_weights([*model.get_weights()[:-1], 0.1 * thirds])
    card = Card("Pitch", "1", LABELS, RATE, RATE)
    path = tmp_path_factory.mktemp("recogniser") / "pitch.tflite"
    path.write_bytes(add_metadata(to_tflite(model, description), card))
    return path


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory) -> Callable[..., Path]:
    """Writes a clip that sounds low, middle or high, by one pitch or several in turn."""
    folder = tmp_path_factory.mktemp("clips")

    def make(*pitches, seconds, rate=RATE, channels=1, suffix="wav") -> Path:
        time = np.arange(round(seconds * rate)) / rate
        part = np.minimum((time * len(pitches) / seconds).astype(int), len(pitches) - 1)
        hertz = np.array([PITCHES[pitch] for pitch in pitches])[part]
        noise = np.random.default_rng(0).normal(0, 0.01, (channels, len(time)))
        samples = 0.4 * np.sin(2 * np.pi * hertz * time) + noise
        path = folder / f"{'_'.join(pitches)}_{seconds}_{rate}_{channels}.{suffix}"
        soundfile.write(path, samples.T, rate)
        return path

    return make


@pytest.fixture(scope="session")
def litert() -> Path:
    """The npm package that the page runs on."""
    if not (PACKAGES / "@litertjs" / "core").is_dir():
        pytest.skip(f"LiteRT.js is not installed: npm ci --prefix {PACKAGES.parent}")
    return PACKAGES


@pytest.fixture(scope="session")
def page_server(recogniser, litert) -> Iterator[PageServer]:
    with PageServer(recogniser, port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
