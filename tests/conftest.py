from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.corpora.manifest import COLUMNS, write_manifest

SHARED = Path(__file__).parents[2] / "shared"


def existing(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def shared_corpora() -> Path:
    """Real speech, which never lies in the checkout."""
    return existing(SHARED / "corpora")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Facts about the paper and DEMoS."""
    return existing(SHARED / "reference")


@pytest.fixture(scope="session")
def small_upstream(tmp_path_factory) -> Path:
    """A wav2vec 2.0 with 13,074 random weights. Tests must not change it."""
    from benchmarks.random_upstream import make_upstream

    out = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=out, hidden_size=16, layers=1, channels=8, seed=0)
    return out


@pytest.fixture
def make_manifest(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes a manifest of clips, given as columns that differ by id."""

    def make(clips: Mapping[str, Mapping[str, str]]) -> Path:
        usual = {"speaker": "anna", "emotion": "joy", "split": "train", "duration_seconds": 1.0}
        rows = [
            dict.fromkeys(COLUMNS, "")
            | {"utterance_id": name, "path": f"{name}.wav", "corpus": "csv"}
            | usual
            | columns
            for name, columns in clips.items()
        ]
        write_manifest(pd.DataFrame(rows), tmp_path / "manifest.csv")
        return tmp_path / "manifest.csv"

    return make
