from pathlib import Path

import pytest

from ser_nsl.audio.examples import UNLABELLED, feature_example
from tests.audio.written import IDS, logmel, write


@pytest.fixture
def features(tmp_path) -> Path:
    """Five clips, the last without a label."""
    labels = [2, 0, 1, 0, UNLABELLED]
    examples = [feature_example(IDS[i], logmel(i), labels[i]) for i in range(5)]
    return write(tmp_path / "features", examples)
