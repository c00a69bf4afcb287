"""The stage that joins embeddings of several kinds, so that all have a say in what is alike."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.records import (
    ShardWriter,
    embedding_example,
    has_split,
    read_embeddings,
    read_upstream,
    shard_paths,
)
from ser_nsl.corpora.manifest import SPLITS
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings",), makes="folder")
def fuse_embeddings(*, embeddings: tuple[Path, ...], out: Path) -> Mapping[str, Any]:
    """Joins embeddings of the same clips into one whose cosine is the mean of their cosines.

    Each vector is scaled to length 1, then a clip's vectors are put after one another. The kind
    whose cosines differ most from clip to clip decides most, so centre each before.

    Args:
        embeddings: Folders of two or more kinds; one that is named twice counts twice.
        out: Folder for the joint embeddings of the splits that all kinds have, in the order of
            the first and in as many files.

    Returns:
        Number of clips a split, the width of an embedding, and splits left out.

    Raises:
        InputError: If there are less than two folders, they have no split in common or not the
            same clips in it, a vector is all zero, or embeddings cannot be read.
    """
    if len(embeddings) < 2:
        raise InputError(f"embeddings: two or more folders are needed; received {len(embeddings)}.")
    lacking = {
        split: [folder for folder in embeddings if not has_split(folder, split)] for split in SPLITS
    }
    splits = [split for split in SPLITS if not lacking[split]]
    if not splits:
        raise InputError(
            f"embeddings: {', '.join(map(str, embeddings))} have no split in common; embed the "
            "same splits."
        )
    counts: dict[str, Any] = {}
    for split in splits:
        first, *others = [_read_units(folder, split) for folder in embeddings]
        for folder, other in zip(embeddings[1:], others, strict=True):
            _check_same(first, other, split, embeddings[0], folder)
        name = "+".join(read_upstream(folder, split) or "unknown" for folder in embeddings)
        shards = len(shard_paths(embeddings[0], split))
        with ShardWriter(out, split, shards) as writer:
            for utterance_id in _dealt(list(first), shards):
                parts = [kind[utterance_id] for kind in (first, *others)]
                joint = np.concatenate(parts).astype(np.float32)
                writer.write(embedding_example(utterance_id, joint, name))
        counts[split] = len(first)
    dropped = [
        f"{split}: not in {', '.join(map(str, folders))}"
        for split, folders in lacking.items()
        if 0 < len(folders) < len(embeddings)
    ]
    return counts | {"width": len(joint), "dropped": dropped}


def _read_units(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Vectors of length 1, float64, by id."""
    vectors = read_embeddings(folder, [split])
    lost = [utterance_id for utterance_id, vector in vectors.items() if not vector.any()]
    if lost:
        raise InputError(
            f"{folder}: {len(lost)} of {len(vectors)} embeddings of the split {split!r} are all "
            f"zero, so they have no direction (first: {', '.join(lost[:3])}); train the upstream "
            "longer or embed another layer."
        )
    vectors = {utterance_id: vector.astype(np.float64) for utterance_id, vector in vectors.items()}
    return {utterance_id: each / np.linalg.norm(each) for utterance_id, each in vectors.items()}


def _dealt(ids: Sequence[str], shards: int) -> Iterator[str]:
    """The order in which a `ShardWriter` is to get ids, so that they are read as they are here."""
    for row in zip_longest(*np.array_split(np.array(ids, object), shards)):
        yield from (utterance_id for utterance_id in row if utterance_id is not None)


def _check_same(
    first: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    split: str,
    folder: Path,
    other_folder: Path,
) -> None:
    alone = sorted(first.keys() ^ other.keys())
    if alone:
        raise InputError(
            f"embeddings: {folder} and {other_folder} must hold the same clips of the split "
            f"{split!r}, but {len(alone)} are in one only (first: {', '.join(alone[:3])}); embed "
            "both from one manifest."
        )
