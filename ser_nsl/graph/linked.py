"""Clips with their neighbours' rows, read from any form of training records."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ser_nsl.audio.batches import Batch
from ser_nsl.audio.examples import LARGEST, UNLABELLED
from ser_nsl.lazy import tf


@dataclass(frozen=True)
class LinkedClips:
    """Clips and the rows of their neighbours; every clip's features once, on disk or in memory.

    Attributes:
        ids: Ids of all clips, labelled or not.
        labels: int64, shape `(clips,)`; -1 for no label.
        rows: int32, shape `(clips, 1 + neighbors)`: row of the clip, then of its neighbours, the
            nearest first; the clip's own row for a missing one.
        weights: float32, shape `(clips, neighbors)`: 0 where a neighbour is missing.
        logmels: Features of the clips, in parts: float32, shape `(clips, frames, mels)`, in
            memory or mapped from files.
    """

    ids: Sequence[str]
    labels: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    logmels: Sequence[np.ndarray]

    @property
    def labelled(self) -> np.ndarray:
        """Rows of the clips that have a label, int64, in the order of official records."""
        return np.flatnonzero(self.labels != UNLABELLED)

    def at(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Fetches clips with the features of their neighbours.

        Args:
            rows: Rows of the clips, int64, scalars or batches of shape `(batch,)`.

        Returns:
            Dictionaries of `id`, `label`, `logmel`, and for each neighbour `NL_nbr_<i>_logmel` and
            `NL_nbr_<i>_weight` (float32, shape `(1,)`); in batches if the rows are. A
            missing neighbour is replaced by the clip itself with weight 0, which adds nothing to
            the loss, and unlike silence or zeros does not disturb the statistics of batch
            normalisation.
        """
        weights, neighbors = tf.constant(self.weights), self.weights.shape[1]
        table = tf.constant(self.rows)

        def fetch(row: tf.Tensor) -> dict[str, tf.Tensor]:
            own, *others = self._logmels_at(tf.gather(table, row), 1 + neighbors)
            clip = {"logmel": own, **{f"NL_nbr_{i}_logmel": part for i, part in enumerate(others)}}
            own_weights = tf.gather(weights, row)
            return clip | {
                f"NL_nbr_{i}_weight": own_weights[..., i : i + 1] for i in range(neighbors)
            }

        return self._named(rows, fetch)

    def linked(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Fetches clips with the rows of their neighbours, without the neighbours' features.

        Args:
            rows: Rows of the clips, int64, scalars or batches of shape `(batch,)`.

        Returns:
            Dictionaries of `id`, `label`, `logmel`, `NL_row` (int64), `NL_nbr_rows` (int32, shape
            `(neighbours,)`; the clip's own row for a missing one) and `NL_nbr_weights`
            (float32, same shape, 0 for missing ones); in batches if the rows are.
        """
        table, weights = tf.constant(self.rows), tf.constant(self.weights)

        def fetch(row: tf.Tensor) -> dict[str, tf.Tensor]:
            return {
                "logmel": self._logmels_at(row[..., tf.newaxis], 1)[0],
                "NL_row": row,
                "NL_nbr_rows": tf.gather(table, row)[..., 1:],
                "NL_nbr_weights": tf.gather(weights, row),
            }

        return self._named(rows, fetch)

    def _named(
        self, rows: tf.data.Dataset, fetch: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    ) -> tf.data.Dataset:
        ids, labels = tf.constant(self.ids), tf.constant(self.labels)
        return rows.map(
            lambda row: {"id": tf.gather(ids, row), "label": tf.gather(labels, row), **fetch(row)},
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def _logmels_at(self, rows: tf.Tensor, count: int) -> list[tf.Tensor]:
        logmels = tf.numpy_function(self._fetch, [rows], [tf.float32] * count, stateful=False)
        shape = (*rows.shape[:-1], *self.logmels[0].shape[1:])
        return [tf.ensure_shape(part, shape) for part in logmels]

    def keeping(self, edges: np.ndarray, neighbors: int) -> LinkedClips:
        """Drops edges; the remaining neighbours move up.

        Args:
            edges: Which edges stay, bool, the shape of `weights`.
            neighbors: Most neighbours of a clip.

        Returns:
            The clips with the remaining edges, `neighbors` columns.
        """
        stays = edges & (self.weights != 0)
        stays &= np.cumsum(stays, axis=1) <= neighbors
        clip_rows, old_ranks = np.nonzero(stays)
        ranks = np.cumsum(stays, axis=1)[stays] - 1
        kept = clip_rows, ranks, self.rows[clip_rows, 1 + old_ranks], self.weights[stays]
        rows, weights = link_tables(len(self.ids), neighbors, *kept)
        return replace(self, rows=rows, weights=weights)

    def _fetch(self, rows: np.ndarray) -> list[np.ndarray]:
        """Copies the features at rows of shape `(..., n)`: n arrays `(..., frames, mels)`."""
        ends = [*accumulate(len(part) for part in self.logmels)]
        shape = self.logmels[0].shape[1:]
        fetched = []
        for column in np.moveaxis(rows, -1, 0):
            logmels = np.empty((column.size, *shape), np.float32)
            for logmel, row in zip(logmels, column.ravel().tolist(), strict=True):
                shard = bisect_right(ends, row)
                logmel[:] = self.logmels[shard][row - ends[shard]]  # counted from the shard's end
            fetched.append(logmels.reshape(*column.shape, *shape))
        return fetched


def check_weights(batch: Batch, counts: np.ndarray, weights: np.ndarray) -> None:
    """Refuses weights that would not pull neighbours together.

    Args:
        batch: Training records.
        counts: Number of weights of each record, int, shape `(records,)`.
        weights: All weights, float, shape `(sum of counts,)`.

    Raises:
        InputError: If one is 0 or less, or not below a million.
    """
    clips = np.repeat(np.arange(len(counts)), counts)
    good = np.ones(len(counts), bool)
    good[clips[~((weights > 0) & (weights < LARGEST))]] = False
    batch.check(
        good,
        "every neighbour must have a finite weight above 0: 0 does nothing, and less pushes "
        "neighbours apart; build the graph with a --similarity-threshold of 0 or more.",
    )


def link_tables(
    clips: int,
    neighbors: int,
    clip_rows: np.ndarray,
    ranks: np.ndarray,
    neighbor_rows: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes the tables of `LinkedClips` from edges.

    Args:
        clips: Number of clips.
        neighbors: Most neighbours of a clip.
        clip_rows: Rows of the clips, int, shape `(edges,)`.
        ranks: Ranks of the neighbours, from 0, int, same shape.
        neighbor_rows: Rows of the neighbours, int, same shape.
        weights: Weights, float, same shape; a neighbour of weight 0 counts as missing.

    Returns:
        `rows` and `weights`.
    """
    rows = np.repeat(np.arange(clips, dtype=np.int32)[:, np.newaxis], 1 + neighbors, axis=1)
    rows[clip_rows, 1 + ranks] = np.where(weights == 0, clip_rows, neighbor_rows)
    table = np.zeros((clips, neighbors), np.float32)
    table[clip_rows, ranks] = weights
    return rows, table
