"""Embeddings as one table of vectors, and their cosines in the official builder's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_nsl.audio.batches import Batch, read_batches
from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.pipeline.places import place

_RECORDS = 1_024  # records parsed at a time
_PAIRS = 1_024  # pairs compared at a time; more would not fit into the processor's cache

LEAST_NORM = 1e-6
"""Shorter vectors count as this long, as in the official builder."""

UNFIT = frozenset("\t\r\n")
"""Characters that a line of a graph cannot hold in an id."""


@dataclass(frozen=True)
class Vectors:
    """Embeddings of clips, which are numbered in the order of their ids.

    Attributes:
        ids: Ids in rising order.
        values: float32, shape `(clips, width)`.
        norms: Lengths of the vectors, float64, shape `(clips,)`.
        speakers: Numbers of the speakers, int32, shape `(clips,)`, where no edge may join two clips
            of one speaker; None where speakers do not matter.
        emotions: Numbers of the emotions, int32, shape `(clips,)`, where edges may only join two
            clips of one emotion; None where emotions do not matter.
    """

    ids: Sequence[str]
    values: np.ndarray
    norms: np.ndarray
    speakers: np.ndarray | None = None
    emotions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, clips: np.ndarray) -> Vectors:
        """Returns the clips of sorted indices."""
        ids = [self.ids[i] for i in clips]
        labels = (None if own is None else own[clips] for own in (self.speakers, self.emotions))
        return Vectors(ids, self.values[clips], self.norms[clips], *labels)

    @property
    def joins_any(self) -> bool:
        """Whether any two clips may be joined."""
        return self.speakers is None and self.emotions is None

    def barred(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Returns which pairs of clips may not be joined, bool; their indices are broadcast."""
        barred = np.zeros(np.broadcast_shapes(ones.shape, others.shape), bool)
        if self.speakers is not None:
            barred |= self.speakers[ones] == self.speakers[others]
        if self.emotions is not None:
            barred |= self.emotions[ones] != self.emotions[others]
        return barred

    def units(self, clips: slice | np.ndarray) -> np.ndarray:
        """Returns vectors of length 1, float64, shape `(chosen clips, width)`."""
        units = _aligned(self.values[clips])
        units /= self.norms[clips, np.newaxis]
        return units

    def cosines(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Computes cosines of pairs, equal to the last bit to those of `nsl.tools.build_graph`.

        Args:
            sources: Indices of clips, int, shape `(pairs,)`.
            targets: Indices of their partners, int, same shape.

        Returns:
            Cosines, float64, shape `(pairs,)`.
        """
        cosines = np.empty(len(sources))
        for start in range(0, len(sources), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            cosines[chunk] = _dots(self.units(sources[chunk]), self.units(targets[chunk]))
        return cosines


def _aligned(values: np.ndarray) -> np.ndarray:
    """Returns vectors as float64, every row aligned to 16 bytes.

    BLAS may sum in another order where a vector is not aligned, as every second row of an odd
    width.
    """
    rows, width = values.shape
    aligned = np.empty((rows, width + width % 2))[:, :width]
    aligned[:] = values
    return aligned


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns products of pairs of aligned vectors, summed in the same order as in `np.dot`."""
    return np.matmul(a[:, np.newaxis, :], b[:, :, np.newaxis])[:, 0, 0]


def read_vectors(
    paths: Sequence[str | Path],
    *,
    id_feature: str = "id",
    embedding_feature: str = "embedding",
    upstream_feature: str | None = "upstream",
) -> Vectors:
    """Reads embeddings: the ids first, then the vectors straight into the sorted table.

    Args:
        paths: TFRecord files.
        id_feature: Name of the feature with the id.
        embedding_feature: Name of the feature with the vector.
        upstream_feature: Name of the feature with the upstream and layer, which must then be one;
            None if records may have such a feature with another meaning.

    Returns:
        The embeddings.

    Raises:
        InputError: If there are no embeddings, a file is missing or damaged, an id is missing, a
            duplicate or holds a tab or line break, or an embedding is all zero, not finite or below
            a million, or of another width, upstream or layer than the first.
    """
    files = [place(path) for path in paths]
    ids: list[str] = []
    for batch in read_batches(files, {}, id_feature=id_feature, size=_RECORDS):
        valid = np.array([UNFIT.isdisjoint(utterance_id) for utterance_id in batch.ids])
        batch.check(valid, "every id must be without tab and line break; rename the clips.")
        ids += batch.ids
    if not ids:
        raise InputError(
            f"{files[0] if files else 'embeddings'}: at least one embedding is needed; received "
            f"none in {len(files)} files. Embed some clips."
        )
    ids.sort()
    row_of = {utterance_id: i for i, utterance_id in enumerate(ids)}
    schema = {embedding_feature: tf.io.RaggedFeature(tf.float32)}
    if upstream_feature is not None:
        schema[upstream_feature] = tf.io.FixedLenFeature([], tf.string, "")
    values, norms, upstream = np.empty((0, 0), np.float32), np.empty(len(ids)), b""
    for batch in read_batches(files, schema, id_feature=id_feature, size=_RECORDS):
        names = batch.features[upstream_feature].numpy() if upstream_feature else None
        if not values.size:
            width = int(batch.features[embedding_feature].row_lengths()[0])
            values = np.empty((len(ids), width), np.float32)
            upstream = b"" if names is None else names[0]
        if names is not None:
            _check_upstream(batch, names, upstream)
        vectors = _checked_vectors(batch, embedding_feature, values.shape[1])
        rows = [row_of[utterance_id] for utterance_id in batch.ids]
        aligned = _aligned(vectors)
        values[rows], norms[rows] = vectors, np.sqrt(_dots(aligned, aligned))
    return Vectors(ids, values, np.maximum(norms, LEAST_NORM))


def _check_upstream(batch: Batch, names: np.ndarray, first: bytes) -> None:
    others = [name for name in names if name != first]
    if others:
        one, other = (name.decode(errors="replace") or "unknown" for name in (first, others[0]))
        rule = f"all embeddings must come from one upstream and layer, {one} like the first, not "
        batch.check(names == first, f"{rule}{other}. Embed all clips with one upstream.")


def _checked_vectors(batch: Batch, embedding_feature: str, width: int) -> np.ndarray:
    """Returns the vectors of a batch, shape `(records, width)`."""
    vectors = batch.features[embedding_feature]
    widths = vectors.row_lengths().numpy()
    batch.check(
        widths > 0,
        f"every record must have numbers in the feature {embedding_feature!r}; give the folder of "
        "extract_embeddings or center_embeddings, not one of features.",
    )
    batch.check(
        widths == width,
        f"every embedding must have {width} numbers, like the first; embed all clips with one "
        "upstream.",
    )
    values = vectors.flat_values.numpy().reshape(-1, width)
    batch.check_values(values, "embeddings")
    batch.check(
        values.any(axis=1),
        "every embedding must have a direction, so not be all zero; train the upstream longer or "
        "embed another layer.",
    )
    return values
