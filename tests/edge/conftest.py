"""A recogniser that shows what it has heard."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from ser_nsl.edge import Recognizer

RATE = 16_000
LENGTH = 12
LABELS = [f"emotion{i}" for i in range(LENGTH)]
SETTINGS = {
    "format_version": 1,
    "name": "Echo",
    "sample_rate_hz": RATE,
    "clip_samples": LENGTH,
}


def convert(function: Callable[[tf.Tensor], tf.Tensor], length: int) -> bytes:
    """A model that computes `function` of a waveform of shape `(1, length)`."""
    function = tf.function(function, input_signature=[tf.TensorSpec((1, length), tf.float32)])
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    ).convert()


@pytest.fixture(scope="session")
def flatbuffer() -> bytes:
    """A model whose logits are the waveform."""
    return convert(tf.nn.softmax, LENGTH)


@pytest.fixture(scope="session")
def pack() -> Callable[..., bytes]:
    """Appends entries to a flatbuffer: `pack(flatbuffer, labels_txt="...")`."""

    def pack(flatbuffer: bytes, **entries: str) -> bytes:
        file = io.BytesIO(flatbuffer)
        with zipfile.ZipFile(file, "a") as archive:
            for name, text in entries.items():
                archive.writestr(name.replace("_", "."), text)
        return file.getvalue()

    return pack


@pytest.fixture(scope="session")
def pack_all(pack) -> Callable[..., bytes]:
    """Appends labels and settings, changed where asked for."""

    def pack_all(flatbuffer: bytes, labels=LABELS, **changed) -> bytes:
        settings = json.dumps(SETTINGS | changed)
        return pack(flatbuffer, labels_txt="\n".join(labels), recogniser_json=settings)

    return pack_all


@pytest.fixture
def path(flatbuffer, pack_all, tmp_path) -> Path:
    path = tmp_path / "echo.tflite"
    path.write_bytes(pack_all(flatbuffer))
    return path


@pytest.fixture
def recognizer(path) -> Recognizer:
    return Recognizer(path)


@pytest.fixture
def clock(pack_all, tmp_path) -> Recognizer:
    """Says of 0.1 s of audio the value in its middle."""
    length = RATE // 10
    model = convert(lambda x: tf.stack([x[:, length // 2], 1 - x[:, length // 2]], 1), length)
    path = tmp_path / "clock.tflite"
    path.write_bytes(pack_all(model, ["value", "rest"], clip_samples=length))
    return Recognizer(path)
