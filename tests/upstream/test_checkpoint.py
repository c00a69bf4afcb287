import json
import shutil
import socket

import huggingface_hub.constants
import numpy as np
import pytest
import tensorflow as tf
import transformers.modeling_tf_utils
import transformers.utils.hub
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor
from transformers.utils import logging

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream, quiet_transformers, standardise


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test of this file may reach for the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", True)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("touched the network"))


@pytest.fixture
def checkpoint(small_upstream, tmp_path):
    return shutil.copytree(small_upstream, tmp_path / "checkpoint")


def change_config(checkpoint, **changes) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_own_head_is_kept_without_classes(small_upstream):
    model, _ = load_upstream(str(small_upstream))
    again, _ = load_upstream(str(small_upstream))

    np.testing.assert_array_equal(model.classifier.kernel, again.classifier.kernel)
    assert np.any(model.classifier.kernel)
    assert model.classifier.units == 2


def test_classes_give_a_new_head_on_the_same_body(small_upstream):
    own, _ = load_upstream(str(small_upstream))
    model, _ = load_upstream(str(small_upstream), classes=("joy", "anger", "sorrow"))

    assert model.config.id2label == {0: "joy", 1: "anger", 2: "sorrow"}
    assert model.config.label2id == {"joy": 0, "anger": 1, "sorrow": 2}
    assert (model.projector.units, model.classifier.units) == (256, 3)
    for variable, value in zip(own.wav2vec2.weights, model.wav2vec2.weights, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_projector_of_another_width_is_replaced(checkpoint):
    change_config(checkpoint, classifier_proj_size=32)
    model, _ = load_upstream(str(checkpoint), classes=("joy", "anger"))

    assert model(np.zeros((1, 800), np.float32)).logits.shape == (1, 2)
    assert model.projector.kernel.shape == (16, 256)


def test_published_input_settings_where_the_checkpoint_has_none(checkpoint):
    (checkpoint / "preprocessor_config.json").unlink()

    _, extractor = load_upstream(str(checkpoint))

    assert extractor.do_normalize


def test_weights_of_pytorch_are_those_of_tensorflow(small_upstream, checkpoint):
    path = checkpoint / "model.safetensors"
    save_file(to_pytorch(load_file(path)), path, metadata={"format": "pt"})

    for expected, found in zip(
        load_upstream(str(small_upstream))[0].weights,
        load_upstream(str(checkpoint))[0].weights,
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert transformers.modeling_tf_utils.safe_open is safe_open


def to_pytorch(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives weights the names and axes that PyTorch's modules give them."""
    renamed = {}
    for name, value in weights.items():
        *modules, kind = name.removesuffix(":0").split("/")
        kind = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(kind, kind)
        transposed = value.T if name.endswith("kernel:0") else value
        renamed[".".join((*modules, kind))] = np.ascontiguousarray(transposed)
    return renamed


@pytest.mark.parametrize("form", ["tf", "pt"])
def test_weights_that_are_lacking_are_named(form, checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    for name in ("projector/kernel:0", "projector/bias:0", "wav2vec2/masked_spec_embed:0"):
        del weights[name]

    def save():
        renamed = weights if form == "tf" else to_pytorch(weights)
        save_file(renamed, path, metadata={"format": form})

    save()
    with pytest.raises(InputError, match=r"lacks 2 weights .* \(first: projector.*, projector"):
        load_upstream(str(checkpoint))
    load_upstream(str(checkpoint), classes=("joy", "anger"))
    del weights["wav2vec2/encoder/layer_norm/beta:0"]
    save()
    with pytest.raises(
        InputError, match=r"lacks 1 weights .* \(first: wav2vec2.encoder.layer_norm"
    ):
        load_upstream(str(checkpoint), classes=("joy", "anger"))


def test_weights_of_another_size_are_named(checkpoint):
    change_config(checkpoint, intermediate_size=64)

    with pytest.raises(InputError, match=r"lacks 3 weights .*first: .*/feed_forward/"):
        load_upstream(str(checkpoint), classes=("joy", "anger"))


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "../nowhere"])
def test_missing_folder_is_refused(name):
    with pytest.raises(InputError, match=f"upstream: {name} is not a folder"):
        load_upstream(name)


@pytest.mark.parametrize("name", ["nobody/has-made-this", "runs/upstream/random", "two words"])
def test_name_that_cannot_be_reached_is_refused(name):
    with pytest.raises(InputError, match=r"neither a folder .* tools/make_upstream\.py"):
        load_upstream(name)


def test_another_kind_of_model_is_refused(checkpoint):
    change_config(checkpoint, model_type="hubert")

    with pytest.raises(InputError, match="is a hubert; it must be a wav2vec 2.0"):
        load_upstream(str(checkpoint))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "of tomorrow"}', "{}"])
def test_unreadable_config_is_refused(text, checkpoint):
    (checkpoint / "config.json").write_text(text)

    with pytest.raises(InputError, match="is neither a folder with config.json nor"):
        load_upstream(str(checkpoint))


def test_pretrained_only_has_no_embedding(checkpoint):
    change_config(checkpoint, architectures=["Wav2Vec2ForPreTraining"])

    with pytest.raises(InputError, match=r"no emotion head; .* tools/finetune_upstream\.py"):
        load_upstream(str(checkpoint))
    load_upstream(str(checkpoint), classes=("joy", "anger"))


@pytest.mark.parametrize("content", [None, b"cut off"])
def test_weights_that_cannot_be_read_are_refused(content, checkpoint):
    (checkpoint / "model.safetensors").unlink()
    if content is not None:
        (checkpoint / "model.safetensors").write_bytes(content)

    with pytest.raises(InputError, match=r"no weights that can be read here"):
        load_upstream(str(checkpoint))


def test_pickled_weights_are_not_opened(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    with pytest.raises(InputError, match=r"needs tf_model\.h5 or model\.safetensors"):
        load_upstream(str(checkpoint))


def test_standardise_by_hand():
    # Mean 3 and deviation 2; mean -1 and deviation 0.5.
    waveform = tf.constant([[1.0, 5, 1, 5], [-0.5, -1.5, -1.5, -0.5]])

    found = standardise(waveform, Wav2Vec2FeatureExtractor(do_normalize=True))

    np.testing.assert_allclose(found, [[-1, 1, -1, 1], [1, -1, -1, 1]], atol=1e-6)
    unchanged = standardise(waveform, Wav2Vec2FeatureExtractor(do_normalize=False))
    np.testing.assert_array_equal(unchanged, waveform)


def test_standardise_as_transformers():
    waveform = np.random.default_rng(0).normal(0.1, 1e-3, (3, 500)).astype(np.float32)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)

    expected = extractor(list(waveform), sampling_rate=16_000, return_tensors="np").input_values

    np.testing.assert_allclose(standardise(waveform, extractor), expected, atol=1e-4)


def test_transformers_speaks_again_afterwards():
    level = logging.get_verbosity()
    with pytest.raises(ZeroDivisionError), quiet_transformers():
        assert logging.get_verbosity() == logging.ERROR
        1 / 0  # noqa: B018
    assert logging.get_verbosity() == level != logging.ERROR
