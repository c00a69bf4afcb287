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
