from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.examples import UNLABELLED, embedding_example, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.graph.pack import pack_neighbors

FRAMES, BANDS = 20, 16
CLASSES = ("anger", "joy", "sorrow")


@dataclass(frozen=True)
class Corpus:
    """Clips on disk: features, a graph over those that train, and what packing makes of both.

    Attributes:
        indexed_records: The same in the other form.
        logmel: From id to float32 `(frames, bands)`, for every split.
        labels: From split to labels by id, -1 for clips without one.
    """

    features: Path
    graph: Path
    training_records: Path
    indexed_records: Path
    description: Description
    logmel: Mapping[str, np.ndarray]
    labels: Mapping[str, Mapping[str, int]]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """Three emotions, each louder in its own bands; two of 15 training clips have no label."""
    folder = tmp_path_factory.mktemp("corpus")
    features = folder / "features"
    features.mkdir()
    description = Description(
        FrontEndConfig(mel_bins=BANDS),
        512 + (FRAMES - 1) * 256,
        CLASSES,
        (-40.0,) * BANDS,
        (10.0,) * BANDS,
    )
    description.save(features)
    random = np.random.default_rng(0)
    logmel, labels = {}, {}
    for split, clips in (("train", 15), ("val", 7), ("test", 5)):
        labels[split] = {}
        with ShardWriter(features, split, 2) as writer:
            for i in range(clips):
                utterance_id, label = f"{split}{i:02}", i % len(CLASSES)
                clip = random.normal(-40, 10, (FRAMES, BANDS)).astype(np.float32)
                clip[:, 5 * label : 5 * label + 5] += 5
                if split == "train" and i >= 13:
                    label = UNLABELLED
                writer.write(feature_example(utterance_id, clip, label))
                logmel[utterance_id], labels[split][utterance_id] = clip, label

    graph = folder / "graph.tsv"
    ring = [(f"train{i:02}", f"train{(i + 3) % 15:02}", 0.9 + i / 1000) for i in range(15)]
    graph.write_text("".join(f"{a}\t{b}\t{weight}\n" for a, b, weight in ring))
    records = []
    for form in ("official", "indexed"):
        records.append(folder / form)
        settings = {"max_neighbors": 2, "shards": 2, "form": form}
        pack_neighbors(features=features, graph=graph, out=records[-1], **settings)
    return Corpus(features, graph, *records, description, logmel, labels)


@pytest.fixture
def write_embeddings(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes random embeddings of some clips, in the order given."""

    def write(ids: Sequence[str], *, split: str = "train", width: int = 256) -> Path:
        folder = tmp_path / "embeddings"
        folder.mkdir(exist_ok=True)
        with ShardWriter(folder, split, 3) as writer:
            for utterance_id in ids:
                writer.write(embedding_example(utterance_id, embedding_of(utterance_id, width)))
        return folder

    return write


@pytest.fixture(scope="session")
def embedding() -> Callable[[str], np.ndarray]:
    """Returns the function from an id to its embedding in `write_embeddings`."""
    return embedding_of


def embedding_of(utterance_id: str, width: int = 256) -> np.ndarray:
    seed = list(utterance_id.encode())
    return np.random.default_rng(seed).normal(size=width).astype(np.float32)
