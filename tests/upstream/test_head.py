import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embedder import Embedder
from ser_nsl.upstream.head import Head

FIXTURES = Path(__file__).parent / "fixtures"


def make_head(layers=(2, 0), width=16, **changes) -> Head:
    """A random head on statistics of layers."""
    random, inputs = np.random.default_rng(0), 2 * width * len(layers)
    shapes = {"mean": inputs, "scale": inputs, "fc1.bias": 256, "classifier.bias": 2}
    arrays = {name: random.uniform(0.1, 1, size) for name, size in shapes.items()}
    arrays["fc1.kernel"] = random.normal(0, 0.1, (inputs, 256))
    arrays["classifier.kernel"] = random.normal(0, 0.1, (256, 2))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    settings = {"classes": ("anger", "joy"), "layers": layers, "pooling": "statistics"}
    return Head(**{**settings, "activation": "relu", "arrays": arrays, **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    """A Whisper with a head beside it."""
    folder = shutil.copytree(FIXTURES / "whisper", tmp_path / "headed")
    make_head().save(folder)
    return folder


def test_head_by_hand():
    arrays = {
        "mean": [1.0, 0.0],
        "scale": [2.0, 1.0],
        "fc1.kernel": [[1.0, -1.0], [1.0, 0.0]],
        "fc1.bias": [0.5, 0.0],
        "classifier.kernel": [[2.0], [1.0]],
        "classifier.bias": [-1.0],
    }
    arrays = {name: np.array(value, np.float32) for name, value in arrays.items()}
    head = make_head(layers=(0,), arrays=arrays)
    # Mean 3 and deviation 2, which become 1 and 2.
    frames = tf.constant([[[1.0], [5.0]]])

    np.testing.assert_allclose(head.embed([frames]), [[3.5, 0.0]])
    np.testing.assert_allclose(head.logits(head.embed([frames]).numpy()), [[6.0]])
    np.testing.assert_allclose(
        make_head(layers=(0,), arrays=arrays, activation="linear").embed([frames]), [[3.5, -1.0]]
    )


def test_head_is_read_back_and_embeds(folder):
    upstream, head = load_upstream(str(folder)), make_head()
    read = upstream.require_head()

    assert (read.classes, read.layers) == (head.classes, head.layers)
    assert (read.pooling, read.activation) == (head.pooling, head.activation)
    assert read.arrays.keys() == head.arrays.keys()
    for name, array in head.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
    clips = np.random.default_rng(1).normal(0, 0.1, (2, 8_000)).astype(np.float32)
    embedder = Embedder(upstream, 8_000)
    assert embedder.name.endswith(":fc1")
    expected = head.embed(upstream.encoder.frames(clips, head.layers))
    np.testing.assert_allclose(embedder(clips), expected, atol=1e-5)
    modes = {path.stat().st_mode for path in folder.glob("emotion_head.*")}
    assert len(modes) == 1  # who may read one file may read the other


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [3, 0]},
        {"layers": [-1, 0]},
        {"layers": [0]},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"activation": "tanh"},
        {"classes": ["anger"]},
        {"classes": ["anger", "anger"]},
    ],
)
def test_head_that_does_not_fit_its_encoder_is_refused(change, folder):
    path = folder / "emotion_head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(InputError, match=r"emotion_head.json does not fit .* 2 layers of width 16"):
        load_upstream(str(folder))


@pytest.mark.parametrize("name", ["mean", "fc1.kernel"])
def test_head_with_wrong_numbers_is_refused(name, folder):
    for wrong in (np.nan, np.inf):
        head = make_head()
        head.arrays[name].flat[0] = wrong
        head.save(folder)
        with pytest.raises(InputError, match="does not fit"):
            load_upstream(str(folder))


def test_head_of_another_encoder_is_refused(folder):
    make_head(width=8).save(folder)

    with pytest.raises(InputError, match="does not fit the encoder"):
        load_upstream(str(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"3", b'{"classes": 3}', b"\xff"])
@pytest.mark.parametrize("file", ["emotion_head.json", "emotion_head.safetensors"])
def test_damaged_head_is_refused(file, content, folder):
    (folder / file).write_bytes(content)

    with pytest.raises(InputError, match=r"emotion_head.* cannot be read.*train-head") as error:
        load_upstream(str(folder))
    assert "\n" not in str(error.value)


def test_half_a_head_is_refused(folder):
    (folder / "emotion_head.safetensors").unlink()

    with pytest.raises(InputError, match="emotion_head.safetensors .* cannot be read"):
        load_upstream(str(folder))
