from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import embedding_example, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter

IN_PROCESS = ("--direct_running_mode=in_memory", "--direct_num_workers=1")


@pytest.fixture
def write_embeddings(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes vectors by id as embedding records."""

    def write(vectors: Mapping[str, np.ndarray]) -> Path:
        folder = tmp_path / "embeddings"
        folder.mkdir()
        with ShardWriter(folder, "train", 3) as writer:
            for utterance_id, vector in vectors.items():
                writer.write(embedding_example(utterance_id, vector.astype(np.float32), "u:fc1"))
        return folder

    return write


@pytest.fixture
def write_features(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes clips of two frames of three bands, by id and label."""

    def write(labels: Mapping[str, int]) -> Path:
        folder = tmp_path / "features"
        folder.mkdir()
        random = np.random.default_rng(5)
        with ShardWriter(folder, "train", 2) as writer:
            for utterance_id, label in labels.items():
                logmel = random.normal(size=(2, 3)).astype(np.float32)
                writer.write(feature_example(utterance_id, logmel, label))
        front_end = FrontEndConfig(mel_bins=3)
        Description(front_end, 768, ("anger", "joy"), (0.0,) * 3, (1.0,) * 3).save(folder)
        return folder

    return write


@pytest.fixture
def beam_here() -> Callable:
    """`beam_graph` in this process, with one worker."""
    from ser_nsl.beam.run import beam_graph

    def run(*options: str, **settings):
        paths = {key: str(value) for key, value in settings.items() if isinstance(value, Path)}
        return beam_graph((*IN_PROCESS, *options), **(settings | paths))

    return run


@pytest.fixture
def lines_of() -> Callable[[Path], list[str]]:
    """Returns a function that reads all lines of a sharded text, sorted."""

    def read(prefix: Path) -> list[str]:
        shards = prefix.parent.glob(f"{prefix.name}-*-of-*")
        return sorted(line for shard in shards for line in shard.read_text().splitlines())

    return read


@pytest.fixture
def records_of() -> Callable[..., dict]:
    """Returns a function that reads the records of a split by id."""

    def read(folder: Path, split: str = "train") -> dict:
        examples = read_examples(sorted(folder.glob(f"{split}-*")))
        return {
            example.features.feature["id"].bytes_list.value[0].decode(): example
            for example in examples
        }

    return read
