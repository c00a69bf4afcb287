"""Embeddings as one table of vectors, and their cosines in the official builder's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np

from ser_nsl.audio.records import Batch, read_batches
from ser_nsl.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

_RECORDS = 1_024  # parsed at a time
_PAIRS = 1_024  # compared at a time; more would leave the processor's cache
_LEAST_NORM = 1e-6  # as in the official builder
_UNFIT = frozenset("\t\r\n")  # for an id in a line of a graph


@dataclass(frozen=True)
class Vectors:
    """Embeddings of clips, each clip known by the place of its id.

    Attributes:
        ids: In rising order.
        values: float32, shape `(clips, width)`.
        norms: Lengths, float64, shape `(clips,)`.
    """

    ids: Sequence[str]
    values: np.ndarray
    norms: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, clips: np.ndarray) -> Vectors:
        """Some of the clips, given by rising places."""
        return Vectors([self.ids[i] for i in clips], self.values[clips], self.norms[clips])

    def units(self, clips: slice | np.ndarray) -> np.ndarray:
        """Vectors of length 1, float64, shape `(chosen clips, width)`."""
        units = _aligned(self.values[clips])
        units /= self.norms[clips, np.newaxis]
        return units

    def cosines(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Cosines of pairs, equal to the last bit to those of `nsl.tools.build_graph`.

        Args:
            sources: Places of clips, shape `(pairs,)`.
            targets: Those of their partners, shape `(pairs,)`.

        Returns:
            float64, shape `(pairs,)`.
        """
        cosines = np.empty(len(sources))
        for start in range(0, len(sources), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            cosines[chunk] = _dots(self.units(sources[chunk]), self.units(targets[chunk]))
        return cosines


def _aligned(values: np.ndarray) -> np.ndarray:
    """Vectors as float64, each beginning where one of its own would.

    Some of BLAS's kernels sum in another order where a vector begins between two multiples of 16
    bytes, as every second row of an odd width does.
    """
    rows, width = values.shape
    aligned = np.empty((rows, width + width % 2))[:, :width]
    aligned[:] = values
    return aligned


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of pairs of aligned vectors, each summed in the order in which `np.dot` does it."""
    return np.matmul(a[:, np.newaxis, :], b[:, :, np.newaxis])[:, 0, 0]


def read_vectors(
    paths: Sequence[str | Path], *, id_feature: str = "id", embedding_feature: str = "embedding"
) -> Vectors:
    """Reads embeddings: the ids first, then the vectors straight to their places.

    Args:
        paths: TFRecord files.
        id_feature: Name of the feature with the id.
        embedding_feature: Name of the feature with the vector.

    Returns:
        The embeddings.

    Raises:
        InputError: If there is none, a file is missing or damaged, an id is missing, a duplicate or
            holds a tab or line break, or an embedding is all zero, not finite, or of another
            width, upstream or layer than the first.
    """
    files = [Path(path) for path in paths]
    ids: list[str] = []
    for batch in read_batches(files, {}, id_feature=id_feature, size=_RECORDS):
        fit = np.array([_UNFIT.isdisjoint(utterance_id) for utterance_id in batch.ids])
        batch.check(fit, "every id must be without tab and line break; rename the clips.")
        ids += batch.ids
    if not ids:
        raise InputError(
            f"{files[0] if files else 'embeddings'}: at least one embedding is needed; received "
            f"none in {len(files)} files. Embed some clips."
        )
    ids.sort()
    place = {utterance_id: i for i, utterance_id in enumerate(ids)}
    schema = {
        embedding_feature: tf.io.RaggedFeature(tf.float32),
        "upstream": tf.io.FixedLenFeature([], tf.string, ""),
    }
    values, norms, upstream = np.empty((0, 0), np.float32), np.empty(len(ids)), None
    for batch in read_batches(files, schema, id_feature=id_feature, size=_RECORDS):
        if upstream is None:
            width = int(batch.features[embedding_feature].row_lengths()[0])
            values = np.empty((len(ids), width), np.float32)
            upstream = batch.features["upstream"].numpy()[0]
        _check_upstream(batch, upstream)
        vectors = _checked_vectors(batch, embedding_feature, values.shape[1])
        rows = [place[utterance_id] for utterance_id in batch.ids]
        doubles = _aligned(vectors)
        values[rows], norms[rows] = vectors, np.sqrt(_dots(doubles, doubles))
    return Vectors(ids, values, np.maximum(norms, _LEAST_NORM))


def _check_upstream(batch: Batch, first: bytes) -> None:
    names = batch.features["upstream"].numpy()
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
    finite = np.isfinite(values).all(axis=1)
    batch.check(finite, "every embedding must be finite; embed the clips again.")
    batch.check(
        values.any(axis=1),
        "every embedding must have a direction, so not be all zero; train the upstream longer or "
        "embed another layer.",
    )
    return values
