"""The stage that joins embeddings of several kinds, so that all of them decide on similarity."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import ShardWriter, has_split, shard_paths
from ser_nsl.corpora.manifest import SPLITS
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings",), makes="folder", remote=("embeddings",))
def fuse_embeddings(*, embeddings: tuple[Path, ...], out: Path) -> Mapping[str, Any]:
    """Joins embeddings of the same clips into one whose cosine is the mean of their cosines.

    Each vector is scaled to length 1, then the vectors of a clip are concatenated. The kind whose
    cosines differ most between clips has the most influence, so centre each kind before.

    Args:
        embeddings: Folders of two or more kinds; a folder that is given twice counts twice.
        out: Folder for the joint embeddings of the splits that all kinds have, in the order and
            with as many shards as the first.

    Returns:
        Number of clips of each split, the width of an embedding, and splits left out.

    Raises:
        InputError: If there are fewer than two folders, they have no split in common or not the
            same clips in it, a vector is all zero, or embeddings cannot be read.

    Example:
        >>> kinds = (Path("embeddings"), Path("embeddings"))
        >>> fuse_embeddings(embeddings=kinds, out=Path("fused")).counts
        {'train': 12, 'width': 120, 'dropped': []}
    """
    if len(embeddings) < 2:
        raise InputError(f"embeddings: two or more folders are needed; received {len(embeddings)}.")
    without = {
        split: [folder for folder in embeddings if not has_split(folder, split)] for split in SPLITS
    }
    splits = [split for split in SPLITS if not without[split]]
    if not splits:
        raise InputError(
            f"embeddings: {', '.join(map(str, embeddings))} have no split in common; embed the "
            "same splits."
        )
    counts: dict[str, Any] = {}
    for split in splits:
        first, *others = kinds = [_read_units(folder, split) for folder in embeddings]
        for folder, other in zip(embeddings[1:], others, strict=True):
            differing = sorted(first.keys() ^ other.keys())
            rule = f"embeddings: clips of the split {split!r} are in one of {embeddings[0]} and "
            refuse(differing, f"{rule}{folder} only", "Embed both from one manifest.")
        name = "+".join(read_upstream(folder, split) or "unknown" for folder in embeddings)
        shards = len(shard_paths(embeddings[0], split))
        with ShardWriter(out, split, shards) as writer:
            for utterance_id in _in_turn(list(first), shards):
                joint = np.concatenate([kind[utterance_id] for kind in kinds])
                writer.write(embedding_example(utterance_id, joint, name))
        counts[split] = len(first)
    dropped = [
        f"{split}: not in {', '.join(map(str, folders))}"
        for split, folders in without.items()
        if 0 < len(folders) < len(embeddings)
    ]
    return counts | {"width": len(joint), "dropped": dropped}


def _read_units(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Returns vectors of length 1, float64, by id."""
    vectors = read_embeddings(folder, [split])
    zero = [utterance_id for utterance_id, vector in vectors.items() if not vector.any()]
    rule = f"{folder}: embeddings of the split {split!r} are all zero, so they have no direction"
    refuse(zero, rule, "Train the upstream longer or embed another layer.")
    exact = {utterance_id: vector.astype(np.float64) for utterance_id, vector in vectors.items()}
    return {utterance_id: vector / np.linalg.norm(vector) for utterance_id, vector in exact.items()}


def _in_turn(ids: Sequence[str], shards: int) -> Iterator[str]:
    """Yields ids in the order in which a `ShardWriter` makes files that read in this order."""
    for row in zip_longest(*np.array_split(np.array(ids, object), shards)):
        yield from (utterance_id for utterance_id in row if utterance_id is not None)
