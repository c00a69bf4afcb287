"""TensorFlow against the results of PyTorch for the same checkpoints (see fixtures/)."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream
from ser_nsl.upstream.wav2vec2 import standardise

FIXTURES = Path(__file__).parent / "fixtures"
NEW_KEYS = "parametrizations.weight.original0", "parametrizations.weight.original1"
OLD_KEYS = "weight_g", "weight_v"


@pytest.fixture(params=["group", "layer"])
def checkpoint(request, tmp_path) -> Path:
    return shutil.copytree(FIXTURES / request.param, tmp_path / request.param)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    with np.load(FIXTURES / "clips.npz") as file:
        return file["clips"].astype(np.float32) / 32_768


def with_weight_norm_keys(checkpoint: Path, keys: tuple[str, str]) -> dict[str, np.ndarray]:
    weights = load_file(checkpoint / "model.safetensors")
    assert sum(name.endswith(NEW_KEYS) for name in weights) == 2
    renamed = {}
    for name, value in weights.items():
        for new, key in zip(NEW_KEYS, keys, strict=True):
            name = name.replace(new, key)
        renamed[name] = value
    return renamed


def assert_as_pytorch(checkpoint: Path, clips: np.ndarray) -> None:
    upstream = load_upstream(str(checkpoint))
    encoder, head = upstream.encoder, upstream.head
    states = encoder.frames(clips, range(encoder.layers + 1))

    with np.load(checkpoint / "outputs.npz") as expected:
        for state, values in zip(states, expected["hidden_states"], strict=True):
            np.testing.assert_allclose(state, values, atol=1e-4)
        # Clips, frames and numbers differ by much more than that.
        for axis in range(1, 4):
            assert np.ptp(expected["hidden_states"], axis=axis).mean() > 0.05
        assert (head is not None) == ("logits" in expected)
        if head is not None:
            embeddings = head.embed([states[layer] for layer in head.layers]).numpy()
            np.testing.assert_allclose(embeddings, expected["embeddings"], atol=1e-4)
            np.testing.assert_allclose(head.logits(embeddings), expected["logits"], atol=1e-4)
            assert np.ptp(expected["embeddings"], axis=0).mean() > 0.01


@pytest.mark.parametrize("keys", [NEW_KEYS, OLD_KEYS])
def test_hidden_states_embeddings_and_logits(keys, checkpoint, clips):
    weights = with_weight_norm_keys(checkpoint, keys)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})

    assert_as_pytorch(checkpoint, clips)


@pytest.mark.parametrize("form", ["hubert", "whisper"])
def test_hidden_states_of_other_architectures(form, clips):
    assert_as_pytorch(FIXTURES / form, clips)


@pytest.mark.parametrize("form", ["group", "hubert", "whisper"])
def test_frames_of_any_layers_in_any_order(form, clips):
    encoder = load_upstream(str(FIXTURES / form)).encoder
    with np.load(FIXTURES / form / "outputs.npz") as expected:
        for layers in ((2, 0), (1,)):
            for found, layer in zip(encoder.frames(clips, layers), layers, strict=True):
                np.testing.assert_allclose(found, expected["hidden_states"][layer], atol=1e-4)


def test_tensorflow_files_of_the_same_checkpoint(checkpoint, clips):
    expected = load_upstream(str(checkpoint)).fingerprint(with_head=True)
    model, _ = load_for_finetuning(str(checkpoint), ("anger", "joy", "sadness"))
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, safe_serialization=False)

    assert_as_pytorch(checkpoint, clips)
    assert load_upstream(str(checkpoint)).fingerprint(with_head=True) == expected


def test_settings_ask_for_a_mask_that_changes_nothing(clips):
    """PyTorch was given a mask in the form `layer`, and none in the form `group`."""
    asked = {
        form: Wav2Vec2FeatureExtractor.from_pretrained(FIXTURES / form)(
            list(clips), sampling_rate=16_000, padding=True, return_tensors="np"
        )
        for form in ("group", "layer")
    }
    assert "attention_mask" not in asked["group"]
    assert asked["layer"]["attention_mask"].all()

    encoder = load_upstream(str(FIXTURES / "layer")).encoder
    found = encoder.body(standardise(clips, encoder.extractor)).last_hidden_state
    np.testing.assert_allclose(found, encoder.body(**asked["layer"]).last_hidden_state, atol=1e-5)


def test_pickle_without_pytorch_names_the_extra(checkpoint, monkeypatch):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    for version in ("2.5.1", None):
        monkeypatch.setattr("ser_nsl.upstream.weights.metadata.version", missing(version))
        with pytest.raises(InputError, match=re.escape("[torch]")):
            load_upstream(str(checkpoint))


def missing(version: str | None):
    """A `metadata.version` that knows this version of PyTorch, or none."""
    from importlib.metadata import PackageNotFoundError

    def find(package: str) -> str:
        assert package == "torch"
        if version is None:
            raise PackageNotFoundError(package)
        return version

    return find


def test_pickle_is_read_by_pytorch(checkpoint, clips):
    torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")
    weights = with_weight_norm_keys(checkpoint, OLD_KEYS)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
    torch.save(tensors, checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()

    assert_as_pytorch(checkpoint, clips)


class Code:
    """Runs when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def test_pickle_that_holds_code_is_not_run(checkpoint, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")
    torch.save({"weight": Code(tmp_path / "ran")}, checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()

    with pytest.raises(InputError, match="pytorch_model.bin of .*"):
        load_upstream(str(checkpoint))
    assert not (tmp_path / "ran").exists()
