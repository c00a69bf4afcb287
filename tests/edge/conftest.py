"""A recogniser whose probabilities show its input."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.edge import NO_SPEECH, Recognizer

RATE = 16_000
LENGTH = 12  # of the input
LABELS = [f"emotion{i}" for i in range(LENGTH)]
SETTINGS = {"format_version": 1, "name": "Echo", "sample_rate_hz": RATE, "clip_samples": LENGTH}


@pytest.fixture(scope="session")
def convert() -> Callable[..., bytes]:
    """Makes a model that computes a function of a waveform of shape `(1, length)`."""

    def convert(function: Callable[[tf.Tensor], tf.Tensor], length: int) -> bytes:
        function = tf.function(function, input_signature=[tf.TensorSpec((1, length), tf.float32)])
        return tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()]
        ).convert()

    return convert


@pytest.fixture(scope="session")
def flatbuffer(convert) -> bytes:
    """A model whose logits are the waveform."""
    return convert(tf.nn.softmax, LENGTH)


@pytest.fixture(scope="session")
def pack() -> Callable[..., bytes]:
    """Appends files to a flatbuffer: `pack(flatbuffer, labels_txt="...")`."""

    def pack(flatbuffer: bytes, **files: str) -> bytes:
        file = io.BytesIO(flatbuffer)
        with zipfile.ZipFile(file, "a") as archive:
            for name, text in files.items():
                archive.writestr(name.replace("_", "."), text)
        return file.getvalue()

    return pack


@pytest.fixture(scope="session")
def pack_all(pack) -> Callable[..., bytes]:
    """Appends labels and settings, some of them changed."""

    def pack_all(flatbuffer: bytes, labels=LABELS, **changed) -> bytes:
        settings = json.dumps(SETTINGS | changed)
        return pack(flatbuffer, labels_txt="\n".join(labels), recogniser_json=settings)

    return pack_all


@pytest.fixture(scope="session")
def path(flatbuffer, pack_all, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("echo") / "echo.tflite"
    path.write_bytes(pack_all(flatbuffer))
    return path


@pytest.fixture(scope="session")
def recognizer(path) -> Recognizer:
    return Recognizer(path)


@pytest.fixture(scope="session")
def adaptable(flatbuffer, pack_all, tmp_path_factory) -> Path:
    """The same, but its last label is "no speech", and it knows what is typical."""
    path = tmp_path_factory.mktemp("adaptable") / "adaptable.tflite"
    labels = [*LABELS[:-1], NO_SPEECH]
    path.write_bytes(pack_all(flatbuffer, labels, typical=[-2 - i / 10 for i in range(LENGTH - 1)]))
    return path


@pytest.fixture
def wave() -> np.ndarray:
    """One input's length of noise."""
    return np.random.default_rng(0).uniform(-1, 1, LENGTH)
