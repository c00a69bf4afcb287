from pathlib import Path

import pytest

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
