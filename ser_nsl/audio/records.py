"""The tf.Example schemas of the project: sharded writing, checked reading, tf.data.

| Folder | Features of an example | Type |
|---|---|---|
| features | `id`, `logmel` (frames x mels, dB), `label` (-1: none) | bytes, float, int64 |
| embeddings | `id`, `embedding`, `upstream` (not from other tools) | bytes, float, bytes |
| training | those of features, `NL_num_nbrs`; of neighbours `NL_nbr_<i>_...` | as above |

Training records have an indexed form too. `ser_nsl/graph/official.py` and `indexed.py` read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lazy_loader
import numpy as np
from google.protobuf.message import DecodeError

from ser_nsl.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

__all__ = [
    "UNLABELLED",
    "Batch",
    "ShardWriter",
    "embedding_example",
    "feature_example",
    "has_split",
    "read_batches",
    "read_embeddings",
    "read_examples",
    "read_labels",
    "read_logmels",
    "shard_paths",
]

UNLABELLED = -1
"""The label of clips without an emotion."""

_RECORDS = 64  # parsed at a time; with 256, features were read at two thirds of the speed


def feature_example(utterance_id: str, logmel: np.ndarray, label: int) -> tf.train.Example:
    """Makes the record of a clip's features.

    Args:
        utterance_id: The clip.
        logmel: float32, shape `(frames, mels)`.
        label: Index of the class, or `UNLABELLED`.

    Returns:
        `id` (bytes), `logmel` (floats, frame by frame) and `label` (int64).
    """
    return _example(utterance_id, logmel=logmel.ravel(), label=label)


def embedding_example(
    utterance_id: str, embedding: np.ndarray, upstream: str = ""
) -> tf.train.Example:
    """Makes the record of a clip's embedding, as `nsl.tools.build_graph` reads it.

    Args:
        utterance_id: The clip.
        embedding: float32, shape `(width,)`.
        upstream: Hash of the checkpoint and the layer, e.g. `0123456789abcdef:fc1`; without it
            the record is like those of other tools.

    Returns:
        `id` (bytes), `embedding` (floats) and, where it is told, `upstream` (bytes).
    """
    made_by = {"upstream": upstream} if upstream else {}
    return _example(utterance_id, embedding=embedding, **made_by)


def _example(utterance_id: str, **values: np.ndarray | int | str) -> tf.train.Example:
    example = tf.train.Example()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(utterance_id.encode())
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            feature[name].float_list.value.extend(value.tolist())
        elif isinstance(value, str):
            feature[name].bytes_list.value.append(value.encode())
        else:
            feature[name].int64_list.value.append(value)
    return example


class ShardWriter(ExitStack):
    """Writes `{split}-00000-of-00004.tfrecord` files, examples in turn.

    A context manager: `with ShardWriter(folder, "train", 4) as writer: writer.write(example)`.

    Attributes:
        written: Number of examples so far.
    """

    def __init__(self, folder: Path, split: str, shards: int, *, keep: int = 0) -> None:
        """Opens the shards.

        Args:
            folder: Existing folder.
            split: First part of the names.
            shards: Number of files, 1 to 99,999.
            keep: How many examples stay of those that a killed run has written, at most
                `whole_examples`; the next one goes after them.

        Raises:
            InputError: If `shards` is out of range.
        """
        super().__init__()
        self.written = keep
        self._writers = [
            self.enter_context(_writer_after(path, len(range(i, keep, shards))))
            for i, path in enumerate(new_shard_paths(folder, split, shards))
        ]

    def write(self, example: tf.train.Example) -> None:
        """Appends an example to the next shard."""
        writer = self._writers[self.written % len(self._writers)]
        # Maps are serialised in hash order by default, which differs between processes.
        writer.write(example.SerializeToString(deterministic=True))
        self.written += 1

    def flush(self) -> None:
        """Hands all examples so far to the system, so that they outlive this process."""
        for writer in self._writers:
            writer.flush()


def whole_examples(folder: Path, split: str, shards: int) -> int:
    """Counts what a killed `ShardWriter` has left: the examples before the first that is missing.

    Args:
        folder: Existing folder, where files may be missing or cut off.
        split: First part of the names.
        shards: Number of files, 1 to 99,999.

    Returns:
        Number of examples, 0 where nothing was written.

    Raises:
        InputError: If `shards` is out of range.
    """
    return min(
        sum(1 for _ in _whole_records(path)) * shards + i
        for i, path in enumerate(new_shard_paths(folder, split, shards))
    )


def new_shard_paths(folder: Path, split: str, shards: int) -> list[Path]:
    """Names the shards of a split that is to be written.

    Args:
        folder: Where they shall lie.
        split: First part of the names.
        shards: Number of files, 1 to 99,999.

    Returns:
        Paths in order.

    Raises:
        InputError: If `shards` is out of range.
    """
    if not 1 <= shards <= 99_999:
        raise InputError(f"shards: must be 1 to 99,999; received {shards}.")
    return [folder / _shard_name(split, i, shards) for i in range(shards)]


def _writer_after(path: Path, kept: int) -> tf.io.TFRecordWriter:
    """Opens a file for writing after its first records, of which no kill can rob it."""
    begun = path.with_name(f".{path.name}")
    writer = tf.io.TFRecordWriter(str(begun))  # it cannot append
    for record in islice(_whole_records(path), kept):
        writer.write(record)
    writer.flush()
    begun.rename(path)
    return writer


def _whole_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a file up to its end or the first that is cut off."""
    with suppress(tf.errors.DataLossError, tf.errors.NotFoundError):
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


def shard_paths(folder: Path, split: str) -> list[Path]:
    """Finds the shards of a split.

    Args:
        folder: A folder of records.
        split: `train`, `val` or `test`.

    Returns:
        Paths in order.

    Raises:
        InputError: If there is none, or the set is not complete.
    """
    paths = sorted(Path(folder).glob(f"{split}-*-of-*.tfrecord"))
    if not paths:
        raise InputError(
            f"{folder}: holds no records of the split {split!r} ({split}-00000-of-....tfrecord)."
        )
    names = [_shard_name(split, i, len(paths)) for i in range(len(paths))]
    if [path.name for path in paths] != names:
        raise InputError(
            f"{folder}: the shards of {split!r} are not complete: {len(paths)} files, from "
            f"{paths[0].name} to {paths[-1].name}. Make them again."
        )
    return paths


def _shard_name(split: str, number: int, shards: int) -> str:
    return f"{split}-{number:05d}-of-{shards:05d}.tfrecord"


def has_split(folder: Path, split: str) -> bool:
    """Looks whether a folder of records has a split.

    Args:
        folder: The folder, which need not exist.
        split: `train`, `val` or `test`.

    Returns:
        True if there is a file of it.
    """
    return any(Path(folder).glob(f"{split}-*-of-*.tfrecord"))


def read_examples(paths: Iterable[Path]) -> Iterator[tf.train.Example]:
    """Reads examples, in order, refusing damage and doubled ids.

    Args:
        paths: TFRecord files.

    Yields:
        Examples with a feature `id`.

    Raises:
        InputError: If a file is cut or damaged, or an id is missing or doubled.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                example = tf.train.Example.FromString(raw)
                utterance_id = example_id(example)
                _check_new(utterance_id, seen, path)
                yield example
        except (DecodeError, tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            raise InputError(
                f"{path}: is cut off or damaged after {len(seen)} clips; make it again."
            ) from error


def _check_new(utterance_id: str, seen: set[str], path: Path) -> None:
    if not utterance_id or utterance_id in seen:
        raise InputError(
            f"{path}: the id {utterance_id!r} is missing or doubled; make the records again."
        )
    seen.add(utterance_id)


class Batch(NamedTuple):
    """Some records of one file, in order.

    Attributes:
        path: The file.
        ids: Of the records.
        records: The serialised examples, shape `(records,)`.
        features: What was asked for of them, by name.
    """

    path: Path
    ids: list[str]
    records: np.ndarray
    features: Mapping[str, tf.Tensor | tf.RaggedTensor]

    def check(self, holds: np.ndarray, rule: str) -> None:
        """Refuses records that break a rule.

        Args:
            holds: bool, shape `(records,)`.
            rule: What every record must do, and what to do about it.

        Raises:
            InputError: If it does not hold for all; the message names the first three ids.
        """
        faulty = [each for each, good in zip(self.ids, holds, strict=True) if not good]
        if faulty:
            raise InputError(
                f"{self.path}: {rule} Not so the record of {', '.join(faulty[:3])}"
                f"{' and others' if len(faulty) > 3 else ''}."
            )


def read_batches(
    paths: Iterable[Path],
    schema: Mapping[str, tf.io.FixedLenFeature | tf.io.RaggedFeature],
    *,
    id_feature: str = "id",
    size: int = _RECORDS,
) -> Iterator[Batch]:
    """Reads records many at a time, faster than `read_examples`, refusing damage and doubled ids.

    Args:
        paths: TFRecord files.
        schema: Features to read besides the id, as `tf.io.parse_example` takes them.
        id_feature: Name of the feature with the id.
        size: Number of records that are parsed at a time.

    Yields:
        The records, in order.

    Raises:
        InputError: If a file is cut or damaged, a feature is of another type, or an id is missing
            or doubled.
    """
    seen: set[str] = set()
    schema = {id_feature: tf.io.FixedLenFeature([], tf.string, ""), **schema}
    for path in paths:
        try:
            for records in tf.data.TFRecordDataset(str(path)).batch(size).prefetch(1):
                features = tf.io.parse_example(records, schema)
                ids = [each.decode() for each in features[id_feature].numpy()]
                for utterance_id in ids:
                    _check_new(utterance_id, seen, path)
                yield Batch(path, ids, records.numpy(), features)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: is cut off or damaged after {len(seen)} clips or more; make it again."
            ) from error


def read_logmels(
    paths: Iterable[Path], logmel_shape: tuple[int, int]
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Reads features many at a time.

    Args:
        paths: TFRecord files of features.
        logmel_shape: (frames, mels).

    Yields:
        Records, and their log Mel: float32, shape `(records, frames, mels)`.

    Raises:
        InputError: If a record is damaged or of another size.
    """
    frames, mels = logmel_shape
    for batch in read_batches(paths, {"logmel": tf.io.RaggedFeature(tf.float32)}):
        logmel = batch.features["logmel"]
        batch.check(
            logmel.row_lengths().numpy() == frames * mels,
            f"every clip must have {frames} x {mels} numbers, as description.json says; extract "
            "the features again.",
        )
        yield batch, logmel.flat_values.numpy().reshape(-1, frames, mels)


def example_id(example: tf.train.Example) -> str:
    """The id of an example, empty where it has none."""
    values = example.features.feature["id"].bytes_list.value
    return values[0].decode() if values else ""


def read_labels(folder: Path, *splits: str) -> dict[str, int]:
    """Reads the labels of some splits, and with them every record once.

    Args:
        folder: Features or training records.
        *splits: Some of `train`, `val`, `test`.

    Returns:
        From id to label, in the order of the records.

    Raises:
        InputError: If a record is damaged or has no label, or an id is doubled.
    """
    paths = [path for split in splits for path in shard_paths(folder, split)]
    labels: dict[str, int] = {}
    for batch in read_batches(paths, {"label": tf.io.RaggedFeature(tf.int64)}):
        label = batch.features["label"]
        for utterance_id, values in zip(batch.ids, label.row_lengths().numpy(), strict=True):
            if values != 1:
                raise InputError(
                    f"{folder}: the record of {utterance_id} has no label; give a folder that "
                    "tools/extract_features.py has made."
                )
        labels.update(zip(batch.ids, label.flat_values.numpy().tolist(), strict=True))
    return labels


def read_embeddings(folder: Path, splits: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads embeddings.

    Args:
        folder: Embeddings.
        splits: Some of `train`, `val`, `test`.

    Returns:
        From id to float32 vector, all of one width.

    Raises:
        InputError: If a record is damaged, was made by another upstream or layer than those
            before it, or a vector has another width, NaN or infinity.
    """
    embeddings: dict[str, np.ndarray] = {}
    width = upstream = None
    paths = [path for split in splits for path in shard_paths(folder, split)]
    for example in read_examples(paths):
        feature = example.features.feature
        made_by = _upstream_of(example) or "unknown"
        upstream = upstream or made_by
        if made_by != upstream:
            raise InputError(
                f"{folder}: mixes embeddings of two upstreams: {upstream}, and {made_by} of "
                f"{example_id(example)}; embed all clips with one upstream and layer."
            )
        vector = np.array(feature["embedding"].float_list.value, dtype=np.float32)
        width = width or len(vector)
        where = f"{folder}: the embedding of {example_id(example)}"
        if len(vector) != width or not width:
            raise InputError(
                f"{where} has {len(vector)} numbers, those before it have {width}; "
                "embed all clips with one upstream."
            )
        if not np.isfinite(vector).all():
            raise InputError(f"{where} holds NaN or infinity; embed the clips again.")
        embeddings[example_id(example)] = vector
    return embeddings


def read_upstream(folder: Path, split: str) -> str:
    """Reads what made a folder's embeddings.

    Args:
        folder: Embeddings.
        split: One of those that it has.

    Returns:
        Hash of the checkpoint and the layer, of the first record; empty where it tells nothing.

    Raises:
        InputError: If the record is damaged.
    """
    return _upstream_of(next(read_examples(shard_paths(folder, split)), tf.train.Example()))


def _upstream_of(example: tf.train.Example) -> str:
    values = example.features.feature["upstream"].bytes_list.value
    return b"".join(values).decode(errors="replace")


def parsed(paths: Iterable[Path], logmel_shape: tuple[int, int]) -> tf.data.Dataset:
    """Reads features or training records as tensors, in order.

    Args:
        paths: TFRecord files.
        logmel_shape: (frames, mels).

    Returns:
        Elements are dictionaries with `id` (string), `logmel` (float32, `logmel_shape`) and
        `label` (int64).
    """
    schema = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "logmel": tf.io.FixedLenFeature(logmel_shape, tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    records = tf.data.TFRecordDataset([str(path) for path in paths])
    return records.map(
        lambda raw: tf.io.parse_single_example(raw, schema), num_parallel_calls=tf.data.AUTOTUNE
    )
