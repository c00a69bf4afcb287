"""Small records."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.shards import ShardWriter

SHAPE = (3, 2)
IDS = ["a", "b", "çà", "d", "e"]


def logmel(i: int) -> np.ndarray:
    return (np.arange(6, dtype=np.float32) + 10 * i).reshape(SHAPE)


def embedded(*vectors, first: int = 0) -> list[tf.train.Example]:
    return [
        embedding_example(f"clip{first + i}", np.array(vector, np.float32))
        for i, vector in enumerate(vectors)
    ]


def write(folder: Path, examples, *, split: str = "train", shards: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, split, shards) as writer:
        for example in examples:
            writer.write(example)
    assert writer.written == len(examples)
    return folder
