from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.records import ShardWriter, embedding_example
from ser_nsl.corpora.manifest import COLUMNS, write_manifest


@pytest.fixture
def write_embeddings(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes vectors by id as a split of a folder of embeddings."""

    def write(
        vectors: Mapping[str, object], *, split: str = "train", kind: str = "a", upstream: str = ""
    ) -> Path:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, split, 2) as writer:
            for name, vector in vectors.items():
                writer.write(embedding_example(name, np.array(vector, np.float32), upstream))
        return folder

    return write


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
