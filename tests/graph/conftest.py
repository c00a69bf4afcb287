from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.examples import embedding_example, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter

SHAPE = (2, 3)
"""Frames and Mel bands of the clips made here."""


@pytest.fixture
def write_embeddings(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes vectors by id as embedding records."""

    def write(
        vectors: Mapping[str, list[float]], *, split: str = "train", upstream: str = ""
    ) -> Path:
        folder = tmp_path / "embeddings"
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, split, 2) as writer:
            for utterance_id, vector in vectors.items():
                vector = np.array(vector, np.float32)
                writer.write(embedding_example(utterance_id, vector, upstream))
        return folder

    return write


@pytest.fixture
def write_features(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes clips, each of one number throughout, as features."""

    def write(clips: Mapping[str, tuple[float, int]], *, split: str = "train") -> Path:
        folder = tmp_path / "features"
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, split, 2) as writer:
            for utterance_id, (value, label) in clips.items():
                logmel = np.full(SHAPE, value, np.float32)
                writer.write(feature_example(utterance_id, logmel, label))
        front_end = FrontEndConfig(mel_bins=SHAPE[1])
        Description(front_end, 768, ("anger", "joy"), (0.0,) * 3, (1.0,) * 3).save(folder)
        return folder

    return write


@pytest.fixture
def write_graph(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes lines of a graph, given as words between blanks."""

    def write(*lines: str) -> Path:
        path = tmp_path / "graph.tsv"
        path.write_text("".join("\t".join(line.split()) + "\n" for line in lines))
        return path

    return write
