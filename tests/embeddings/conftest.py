from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.shards import ShardWriter


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
