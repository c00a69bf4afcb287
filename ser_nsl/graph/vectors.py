"""Embeddings as one table of vectors, and their cosines in the official builder's arithmetic."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lazy_loader
import numpy as np

from ser_nsl.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

_IN_MEMORY_BYTES = 2**31
_ONCE_BYTES = 2**27  # of files that are read only once
_RECORDS = 1_024  # parsed at a time
_PAIRS = 1_024  # compared at a time; more would leave the processor's cache
_LEAST_NORM = 1e-6  # as in the official builder
_UNFIT = frozenset("\t\r\n")  # for an id in a line of a graph


@dataclass(frozen=True)
class Vectors:
    """Embeddings of clips, each clip known by the place of its id.

    Attributes:
        ids: In rising order.
        values: float32, shape `(clips, width)`; above 2 GiB in a file that is mapped to memory.
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


class _Batch(NamedTuple):
    path: Path
    ids: list[str]
    example: dict[str, tf.Tensor | tf.RaggedTensor]

    def check(self, holds: Iterable[bool], rule: str, next_step: str) -> None:
        faulty = [each for each, good in zip(self.ids, holds, strict=True) if not good]
        if faulty:
            raise InputError(
                f"{self.path}: every embedding must {rule}; received {len(faulty)} that do not "
                f"(first: {', '.join(map(repr, faulty[:3]))}). {next_step}"
            )


def read_vectors(
    paths: Sequence[str | Path], *, id_feature: str = "id", embedding_feature: str = "embedding"
) -> Vectors:
    """Reads embeddings: first the ids, then the vectors straight to their places.

    Small files are kept between the two, large ones read twice.

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
    schema = {
        embedding_feature: tf.io.RaggedFeature(tf.float32),
        "upstream": tf.io.FixedLenFeature([], tf.string, ""),
    }
    batches = _read_batches(files, id_feature, schema)
    if sum(path.stat().st_size for path in files if path.exists()) <= _ONCE_BYTES:
        at_once = list(batches)
        ids, batches = _check_ids(at_once, files), iter(at_once)
    else:
        ids = _check_ids(_read_batches(files, id_feature), files)
    place = {utterance_id: i for i, utterance_id in enumerate(sorted(ids))}
    first = next(batches)
    width = int(first.example[embedding_feature].row_lengths()[0])
    upstream = first.example["upstream"][0].numpy()
    values, norms = _allocate(len(place), width), np.empty(len(place))
    for batch in chain([first], batches):
        _check_upstream(batch, upstream)
        vectors = _checked_vectors(batch, embedding_feature, width)
        rows = [place[utterance_id] for utterance_id in batch.ids]
        values[rows] = vectors
        doubles = _aligned(vectors)
        norms[rows] = np.maximum(np.sqrt(_dots(doubles, doubles)), _LEAST_NORM)
    return Vectors(list(place), values, norms)


def _check_ids(batches: Iterable[_Batch], files: Sequence[Path]) -> set[str]:
    """The ids of all batches."""
    known: set[str] = set()
    again = "Make the records again."
    for batch in batches:
        batch.check(map(bool, batch.ids), "have an id", again)
        fit = (_UNFIT.isdisjoint(utterance_id) for utterance_id in batch.ids)
        batch.check(fit, "have an id without tab or line break", "Rename the clips.")
        batch.check(_are_new(batch.ids, known), "have an id of its own", again)
    if not known:
        raise InputError(
            f"{files[0] if files else 'embeddings'}: at least one embedding is needed; received "
            f"none in {len(files)} files. Embed some clips."
        )
    return known


def _are_new(ids: Iterable[str], known: set[str]) -> Iterator[bool]:
    for utterance_id in ids:
        yield utterance_id not in known
        known.add(utterance_id)


def _check_upstream(batch: _Batch, first: bytes) -> None:
    same = batch.example["upstream"].numpy() == first
    if not same.all():
        names = [first, batch.example["upstream"].numpy()[~same][0]]
        one, other = (name.decode(errors="replace") or "unknown" for name in names)
        batch.check(
            same,
            f"come from one upstream and layer, {one} as the first, not {other}",
            "Embed all clips with one upstream.",
        )


def _checked_vectors(batch: _Batch, embedding_feature: str, width: int) -> np.ndarray:
    """The vectors of a batch, shape `(records, width)`."""
    widths = batch.example[embedding_feature].row_lengths().numpy()
    if not widths.all():
        _refuse_features(batch.path)
    batch.check(widths > 0, "have numbers", "Embed the clips again.")
    rule = f"have {width} numbers, as the first has"
    batch.check(widths == width, rule, "Embed all clips with one upstream.")
    vectors = batch.example[embedding_feature].flat_values.numpy().reshape(-1, width)
    batch.check(np.isfinite(vectors).all(axis=1), "be finite", "Embed the clips again.")
    batch.check(
        vectors.any(axis=1),
        "have a direction, so not be all zero",
        "Train the upstream longer or embed another layer.",
    )
    return vectors


def _refuse_features(path: Path) -> None:
    """Raises if a file's first record is one of features."""
    first = tf.train.Example.FromString(next(_iterate_records(path)))
    if "logmel" in first.features.feature:
        raise InputError(
            f"{path}: holds features, not embeddings; give the folder that "
            "tools/extract_embeddings.py or tools/center_embeddings.py has made."
        )


def _allocate(clips: int, width: int) -> np.ndarray:
    """Room for vectors; where it is large, a file without a name that ends with its use."""
    if clips * width * np.dtype(np.float32).itemsize <= _IN_MEMORY_BYTES:
        return np.empty((clips, width), np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=(clips, width))


def _iterate_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a file; a tf.data pipeline would take longer to start than to read."""
    return inspect.unwrap(tf.compat.v1.io.tf_record_iterator)(str(path))  # not its deprecation


def _read_batches(
    files: Sequence[Path], id_feature: str, more: Mapping[str, Any] | None = None
) -> Iterator[_Batch]:
    schema = {id_feature: tf.io.FixedLenFeature([], tf.string, ""), **(more or {})}
    for path in files:
        try:
            every = _iterate_records(path)
            while records := list(islice(every, _RECORDS)):
                example = tf.io.parse_example(records, schema)
                ids = [each.decode() for each in example[id_feature].numpy()]
                yield _Batch(path, ids, example)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: is cut off or damaged, or holds no embeddings; make it again."
            ) from error
