"""Training records as `nsl.tools.pack_nbrs` writes them: clips with copies of their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lazy_loader
import numpy as np

from ser_nsl.audio.records import UNLABELLED, read_batches, read_labels, read_logmels, shard_paths
from ser_nsl.graph.linked import LinkedClips, link_tables

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

_COUNT = "NL_num_nbrs"
_COPIED = {"id": "string", "weight": "float32", "logmel": "float32"}
_EDGE = [("owner", np.int64), ("place", np.int64), ("row", np.int32), ("weight", np.float32)]


class _Neighbor(NamedTuple):
    """A neighbour as a record tells it: the how-manieth of which clip, and what is copied of it."""

    owner: str
    place: int
    id: str
    weight: float
    logmel: np.ndarray


def open_official(
    folder: Path, splits: Sequence[str], logmel_shape: tuple[int, int], *, neighbors: int | None = 0
) -> LinkedClips:
    """Reads official training records, or plain features, into memory: every clip once.

    Args:
        folder: Where they lie.
        splits: Which; `pack_neighbors` writes `train`.
        logmel_shape: (frames, mels).
        neighbors: How many neighbours to read, more or fewer than were packed; None for as many
            as the clip that has most.

    Returns:
        The clips in the order of the records, without neighbours the labelled ones only; then those
        that are neighbours only, which have no label and no neighbours of their own.

    Raises:
        InputError: If a record is damaged, features are of another size, or a neighbour lacks its
            id, weight or features.
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
    for each in _neighbors(paths, width, logmel_shape):
        if each.id not in row_of:
            row_of[each.id] = len(row_of)
            more.append(each.logmel.copy())  # not a view, which would hold all of its batch
        edges.append((row_of[each.owner], each.place, row_of[each.id], each.weight))
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
        f"NL_nbr_{place}_{name}": tf.io.RaggedFeature(tf.as_dtype(kind))
        for place in range(width)
        for name, kind in _COPIED.items()
    }
    rule = f"every neighbour must have its id, weight and {frames} x {mels} numbers; pack again."
    for batch in read_batches(paths, schema) if width else ():
        for place in range(width):
            ids, weights, logmels = (batch.features[f"NL_nbr_{place}_{name}"] for name in _COPIED)
            counts = np.stack([each.row_lengths().numpy() for each in (ids, weights, logmels)])
            has = counts.any(axis=0)
            batch.check((counts == np.outer((1, 1, frames * mels), has)).all(axis=0), rule)
            yield from map(
                _Neighbor,
                [batch.ids[clip] for clip in np.flatnonzero(has)],
                [place] * len(ids.flat_values),
                [each.decode() for each in ids.flat_values.numpy()],
                weights.flat_values.numpy().tolist(),
                logmels.flat_values.numpy().reshape(-1, frames, mels),
            )
