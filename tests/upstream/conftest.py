from pathlib import Path

import pytest

from ser_nsl.upstream.make import make_upstream


@pytest.fixture(scope="session")
def small_upstream(tmp_path_factory) -> Path:
    """A wav2vec 2.0 of 12,546 random numbers. Not to be changed."""
    out = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=out, hidden_size=16, layers=1, channels=8, seed=0)
    return out
