"""TensorFlow against the results of PyTorch for the same checkpoints (see fixtures/)."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import fingerprint, load_upstream
from ser_nsl.upstream.encoder import frame_features, hidden_states, standardise

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
    model, extractor = load_upstream(str(checkpoint))
    states = hidden_states(model, frame_features(model, clips, extractor))
    embeddings = model.projector(states[-1]).numpy().mean(axis=1)
    logits = model(standardise(clips, extractor)).logits

    with np.load(checkpoint / "outputs.npz") as expected:
        for state, values in zip(states, expected["hidden_states"], strict=True):
            np.testing.assert_allclose(state, values, atol=1e-4)
        np.testing.assert_allclose(embeddings, expected["embeddings"], atol=1e-4)
        np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
        # Clips, frames and numbers differ by much more than that.
        for axis in range(1, 4):
            assert np.ptp(expected["hidden_states"], axis=axis).mean() > 0.05
        assert np.ptp(expected["embeddings"], axis=0).mean() > 0.01


@pytest.mark.parametrize("keys", [NEW_KEYS, OLD_KEYS])
def test_hidden_states_embeddings_and_logits(keys, checkpoint, clips):
    weights = with_weight_norm_keys(checkpoint, keys)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})

    assert_as_pytorch(checkpoint, clips)


def test_tensorflow_files_of_the_same_checkpoint(checkpoint, clips):
    model, extractor = load_upstream(str(checkpoint))
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, safe_serialization=False)

    assert_as_pytorch(checkpoint, clips)
    again, _ = load_upstream(str(checkpoint))
    found, expected = (fingerprint(made, extractor, with_head=True) for made in (again, model))
    assert found == expected


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

    model, extractor = load_upstream(str(FIXTURES / "layer"))
    np.testing.assert_allclose(
        model(standardise(clips, extractor)).logits, model(**asked["layer"]).logits, atol=1e-5
    )


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
