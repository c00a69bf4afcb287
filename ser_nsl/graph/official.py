"""Training records as `nsl.tools.pack_nbrs` writes them: clips with copies of their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.batches import read_batches, texts
from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.records import read_labels, read_logmels
from ser_nsl.audio.shards import shard_paths
from ser_nsl.graph.linked import LinkedClips, check_weights, link_tables
from ser_nsl.lazy import tf

_COUNT = "NL_num_nbrs"
_COPIED = {"id": "string", "weight": "float32", "logmel": "float32"}
_EDGE = [("clip", np.int64), ("rank", np.int64), ("row", np.int32), ("weight", np.float32)]


class _Neighbor(NamedTuple):
    """A neighbour in a record: its clip, its rank from 0, and its id, weight and features."""

    clip: str
    rank: int
    id: str
    weight: float
    logmel: np.ndarray


def open_official(
    folder: Path, splits: Sequence[str], logmel_shape: tuple[int, int], *, neighbors: int | None = 0
) -> LinkedClips:
    """Reads official training records, or plain features, into memory, every clip once.

    Args:
        folder: Folder with the records.
        splits: Splits to read; `pack_neighbors` writes `train`.
        logmel_shape: (frames, mels).
        neighbors: Number of neighbours to read, more or fewer than were packed; None for the
            largest number that a clip has.

    Returns:
        The clips in the order of the records (only the labelled ones if `neighbors` is 0); then
        clips that are neighbours only, without label and without neighbours of their own.

    Raises:
        InputError: If a record is damaged, features are of another size, a number is not finite or
            not below a million, or a neighbour lacks its id, features, or a weight above 0.
    """
    labels = read_labels(folder, *splits)
    if neighbors == 0:
        labels = {key: label for key, label in labels.items() if label != UNLABELLED}
    paths = [path for split in splits for path in shard_paths(folder, split)]
    parts = [
        logmels[[key in labels for key in batch.ids]]
        for batch, logmels in read_logmels(paths, logmel_shape)
    ]
    row_of = {key: row for row, key in enumerate(labels)}
    width = _most_neighbors(paths) if neighbors is None else neighbors
    edges, more = [], []  # `more`: features of neighbours without a record of their own
    for found in _neighbors(paths, width, logmel_shape):
        if found.id not in row_of:
            row_of[found.id] = len(row_of)
            more.append(found.logmel.copy())  # a view would keep its whole batch in memory
        edges.append((row_of[found.clip], found.rank, row_of[found.id], found.weight))
    table = np.array(edges, _EDGE)
    columns = [table[name] for name, _ in _EDGE]
    parts += [np.stack(more)] if more else []
    return LinkedClips(
        [*row_of],
        np.array([labels.get(key, UNLABELLED) for key in row_of]),
        *link_tables(len(row_of), width, *columns),
        parts,
    )


def _most_neighbors(paths: Sequence[Path]) -> int:
    counts = read_batches(paths, {_COUNT: tf.io.FixedLenFeature([], tf.int64, 0)})
    return max((int(batch.features[_COUNT].numpy().max()) for batch in counts), default=0)


def _neighbors(
    paths: Sequence[Path], width: int, logmel_shape: tuple[int, int]
) -> Iterator[_Neighbor]:
    """Reads the first neighbours of each clip."""
    frames, mels = logmel_shape
    schema = {
        f"NL_nbr_{rank}_{name}": tf.io.RaggedFeature(tf.as_dtype(kind))
        for rank in range(width)
        for name, kind in _COPIED.items()
    }
    rule = f"every neighbour must have its id, weight and {frames} x {mels} numbers; pack again."
    for batch in read_batches(paths, schema) if width else ():
        for rank in range(width):
            ids, weights, logmels = (batch.features[f"NL_nbr_{rank}_{name}"] for name in _COPIED)
            counts = np.stack([part.row_lengths().numpy() for part in (ids, weights, logmels)])
            has = counts.any(axis=0)
            counts[0] = np.minimum(counts[0], 1)  # of several ids the first counts
            batch.check((counts == np.outer((1, 1, frames * mels), has)).all(axis=0), rule)
            check_weights(batch, counts[1], weights.flat_values.numpy())
            batch.check_values(logmels.to_tensor().numpy(), "log Mel")
            first = [names[0] for names in ids.to_list() if names]
            yield from map(
                _Neighbor,
                [batch.ids[clip] for clip in np.flatnonzero(has)],
                [rank] * int(has.sum()),
                texts(batch.path, first),
                weights.flat_values.numpy().tolist(),
                logmels.flat_values.numpy().reshape(-1, frames, mels),
            )
