"""Reads and writes the records between stages: `tf.Example` in sharded TFRecord files.

| Folder | Features of an example | Type |
|---|---|---|
| features | `id`, `logmel` (frames x mels, dB), `label` (-1: none) | bytes, float, int64 |
| embeddings | `id`, `embedding`, `upstream` (not from other tools) | bytes, float, bytes |
| training | those of features, `NL_num_nbrs`; of neighbours `NL_nbr_<i>_...` | as above |

Features may have damaged copies in `copy1-...` and so on, beside the splits, with the same ids.
Training records have an indexed form too. `ser_nsl/graph/official.py` and `indexed.py` read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import count, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lazy_loader
import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.pipeline.places import RemotePath, place, refuse_server
from ser_nsl.pipeline.stage import check_whole

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

UNLABELLED = -1
"""The label of clips without an emotion."""

LARGEST = 1e6
"""No decibel, number of an embedding, or weight of an edge is as large."""

_FRAME_BYTES = 16  # around each record: its length and two checksums
_RECORDS = 64  # per batch; with 256, features were read at two thirds of the speed


def feature_example(utterance_id: str, logmel: np.ndarray, label: int) -> tf.train.Example:
    """Makes the record of a clip's features.

    Args:
        utterance_id: Id of the clip.
        logmel: float32, shape `(frames, mels)`.
        label: Index of the class, or `UNLABELLED`.

    Returns:
        Example with `id` (bytes), `logmel` (floats, frame by frame) and `label` (int64).

    Example:
        >>> example = feature_example("clip", np.zeros((2, 3), np.float32), label=1)
        >>> sorted(example.features.feature), example.ByteSize()
        (['id', 'label', 'logmel'], 74)
    """
    return _example(utterance_id, logmel=logmel.ravel(), label=label)


def embedding_example(
    utterance_id: str, embedding: np.ndarray, upstream: str = ""
) -> tf.train.Example:
    """Makes the record of a clip's embedding, in the form that `nsl.tools.build_graph` reads.

    Args:
        utterance_id: Id of the clip.
        embedding: float32, shape `(width,)`.
        upstream: Hash of the checkpoint and the layer, e.g. `0123456789abcdef:fc1`. If empty, the
            record looks like those of other tools.

    Returns:
        Example with `id` (bytes), `embedding` (floats) and, unless it is empty, `upstream` (bytes).

    Example:
        >>> example = embedding_example("clip", np.array([0.5, 2.0]), "0123456789abcdef:fc1")
        >>> example.features.feature["embedding"].float_list.value
        [0.5, 2.0]
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
    """Writes examples to `{split}-00000-of-00004.tfrecord` files, in turn.

    A context manager: `with ShardWriter(folder, "train", 4) as writer: writer.write(example)`.

    Attributes:
        written: Number of examples so far.

    Example:
        >>> with ShardWriter(Path("."), "val", shards=2) as writer:
        ...     for name in ("a", "b", "c"):
        ...         writer.write(embedding_example(name, np.array([1.0])))
        >>> [list(read_embeddings(Path("."), ["val"])), writer.written]
        [['a', 'c', 'b'], 3]
    """

    def __init__(self, folder: Path, split: str, shards: int, *, keep: int = 0) -> None:
        """Opens the shards.

        Args:
            folder: Existing folder.
            split: First part of the names.
            shards: Number of files, 1 to 99,999.
            keep: Number of examples of a killed run to keep, at most `whole_examples`; the next
                example goes after them.

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
        """Passes all examples so far to the system, so that they outlive this process."""
        for writer in self._writers:
            writer.flush()


def whole_examples(folder: Path, split: str, shards: int) -> int:
    """Counts the examples that a killed `ShardWriter` left, up to the first that is missing.

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
    """Returns the paths of the shards of a split that is to be written.

    Args:
        folder: Folder of the shards.
        split: First part of the names.
        shards: Number of files, 1 to 99,999.

    Returns:
        Paths in order.

    Raises:
        InputError: If `shards` is out of range.
    """
    if not 1 <= shards <= 99_999:
        raise InputError(f"shards: must be 1 to 99,999; received {shards}.")
    return [folder / f"{split}-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]


def _writer_after(path: Path, kept: int) -> tf.io.TFRecordWriter:
    """Opens a file for writing after its first records, which are safe from another kill."""
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
        folder: Folder of records.
        split: `train`, `val` or `test`.

    Returns:
        Paths in order.

    Raises:
        InputError: If there is none, the set is not complete, or a shard has not the size with
            which its stage left it.

    Example:
        >>> [path.name for path in shard_paths(Path("features"), "train")][:2]
        ['train-00000-of-00004.tfrecord', 'train-00001-of-00004.tfrecord']
    """
    folder = place(folder)
    paths = sorted(folder.glob(f"{split}-*-of-*.tfrecord"))
    if not paths:
        raise InputError(
            f"{folder}: holds no records of the split {split!r} ({split}-00000-of-....tfrecord)."
        )
    if paths != new_shard_paths(folder, split, len(paths)):
        raise InputError(
            f"{folder}: the shards of {split!r} are not complete: {len(paths)} files, from "
            f"{paths[0].name} to {paths[-1].name}. Make them again."
        )
    for path in paths:
        check_whole(path)
    return paths


def has_split(folder: Path, split: str) -> bool:
    """Returns whether a folder of records has a split.

    Args:
        folder: The folder, which need not exist.
        split: `train`, `val` or `test`.

    Returns:
        True if there is a shard of the split.

    Example:
        >>> has_split(Path("embeddings"), "train"), has_split(Path("embeddings"), "test")
        (True, False)
    """
    return any(place(folder).glob(f"{split}-*-of-*.tfrecord"))


def copy_name(number: int) -> str:
    """Returns the name of the records of damaged copies, which take the place of a split's."""
    return f"copy{number}"


def copy_names(folder: Path) -> list[str]:
    """Returns the names of all damaged copies in a folder of features, `copy1` first."""
    return [*takewhile(lambda name: has_split(folder, name), map(copy_name, count(1)))]


class Batch(NamedTuple):
    """Consecutive records of one file.

    Attributes:
        path: The file.
        ids: Ids of the records.
        records: The serialised examples, shape `(records,)`.
        features: The features that were asked for, by name.

    Example:
        >>> shards = shard_paths(Path("features"), "train")
        >>> batch = next(read_batches(shards, {}))
        >>> batch.check(np.array([len(name) == 20 for name in batch.ids]), "ids have 20 letters.")
    """

    path: Path
    ids: list[str]
    records: np.ndarray
    features: Mapping[str, tf.Tensor | tf.RaggedTensor]

    def check(self, holds: np.ndarray, rule: str) -> None:
        """Refuses records that break a rule.

        Args:
            holds: bool, shape `(records,)`.
            rule: The rule and what to do about a record that breaks it.

        Raises:
            InputError: If it does not hold for all; the message names the first three ids.
        """
        faulty = [name for name, good in zip(self.ids, holds, strict=True) if not good]
        if faulty:
            raise InputError(
                f"{self.path}: {rule} {len(faulty)} of {len(self.ids)} records break this rule "
                f"(first: {', '.join(faulty[:3])})."
            )

    def check_values(self, values: np.ndarray, name: str) -> None:
        """Refuses records with a number that is NaN, infinite or out of all proportion.

        Args:
            values: float, shape `(records, numbers)`.
            name: What the numbers are.

        Raises:
            InputError: If a number is not below `LARGEST`, above or below 0.
        """
        rule = f"every number of {name} must be finite and below {LARGEST:,.0f}; make them again."
        self.check((np.abs(values) < LARGEST).all(axis=1), rule)


def texts(path: Path, values: Iterable[bytes]) -> list[str]:
    """Decodes ids.

    Args:
        path: Their file, for the error.
        values: The ids.

    Returns:
        The ids as text.

    Raises:
        InputError: If one is not UTF-8.
    """
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: ids must be UTF-8; received {error.object!r}. Make the records again."
        ) from error


def read_batches(
    paths: Iterable[Path],
    schema: Mapping[str, tf.io.FixedLenFeature | tf.io.RaggedFeature],
    *,
    id_feature: str = "id",
    size: int = _RECORDS,
) -> Iterator[Batch]:
    """Reads records in batches, and refuses damaged files and duplicate ids.

    Args:
        paths: TFRecord files.
        schema: Features to parse besides the id, as `tf.io.parse_example` takes them.
        id_feature: Name of the feature with the id.
        size: Number of records that are parsed at a time.

    Yields:
        The records, in order.

    Raises:
        InputError: If a file is missing, cut or damaged, a feature has another type, or an id is
            missing or a duplicate. Of several ids in a record the first counts, as in `nsl.tools`.

    Example:
        >>> schema = {"label": tf.io.FixedLenFeature([], tf.int64)}
        >>> batch = next(read_batches(shard_paths(Path("features"), "train"), schema))
        >>> batch.ids
        ['03-01-01-01-01-01-03', '03-01-04-01-01-01-03', '03-01-05-01-01-01-03']
        >>> batch.features["label"].numpy()
        array([1, 2, 0])
    """
    seen: set[str] = set()
    schema = {id_feature: tf.io.RaggedFeature(tf.string), **schema}
    for path in map(place, paths):
        left = 0
        try:
            left = tf.io.gfile.stat(str(path)).length
            for records in tf.data.TFRecordDataset(str(path)).batch(size).prefetch(1):
                features = tf.io.parse_example(records, schema)
                first = [b"".join(names[:1]) for names in features[id_feature].to_list()]
                ids = texts(path, first)  # of several ids the first counts
                left -= sum(_FRAME_BYTES + len(record) for record in records.numpy())
                for utterance_id in ids:
                    if not utterance_id or utterance_id in seen:
                        raise InputError(
                            f"{path}: the id {utterance_id!r} is missing or a duplicate; make the "
                            "records again."
                        )
                    seen.add(utterance_id)
                yield Batch(path, ids, records.numpy(), features)
        except tf.errors.NotFoundError as error:
            raise InputError(f"{path}: does not exist; check the path.") from error
        except (tf.errors.OpError, UnicodeDecodeError) as error:  # the latter in TensorFlow's words
            kinds = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)
            if isinstance(path, RemotePath) and not isinstance(error, kinds):
                refuse_server(path, error)
            raise _damaged(path, len(seen)) from error
        if left:  # TensorFlow takes an end within the length of a record for the end of the file
            raise _damaged(path, len(seen))


def _damaged(path: Path, clips: int) -> InputError:
    return InputError(f"{path}: is cut off or damaged after {clips} clips or more; make it again.")


def read_examples(paths: Iterable[Path]) -> Iterator[tf.train.Example]:
    """Reads whole examples, one by one, with the checks of `read_batches`.

    Args:
        paths: TFRecord files.

    Yields:
        Examples with a feature `id`, in order.

    Raises:
        InputError: If a file is cut or damaged, or an id is missing or a duplicate.

    Example:
        >>> examples = read_examples(shard_paths(Path("embeddings"), "train"))
        >>> len(next(examples).features.feature["embedding"].float_list.value)
        60
    """
    for batch in read_batches(paths, {}):
        yield from map(tf.train.Example.FromString, batch.records)


def read_logmels(
    paths: Iterable[Path], logmel_shape: tuple[int, int]
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Reads features in batches.

    Args:
        paths: TFRecord files of features.
        logmel_shape: (frames, mels).

    Yields:
        Records, and their log Mel: float32, shape `(records, frames, mels)`.

    Raises:
        InputError: If a record is damaged or of another size, or holds a number that is not finite
            or not below `LARGEST`.

    Example:
        >>> batch, logmel = next(read_logmels(shard_paths(Path("features"), "val"), (36, 64)))
        >>> logmel.shape
        (3, 36, 64)
    """
    frames, mels = logmel_shape
    for batch in read_batches(paths, {"logmel": tf.io.RaggedFeature(tf.float32)}):
        logmel = batch.features["logmel"]
        batch.check(
            logmel.row_lengths().numpy() == frames * mels,
            f"every clip must have {frames} x {mels} numbers, as description.json says; extract "
            "the features again.",
        )
        values = logmel.flat_values.numpy()
        batch.check_values(values.reshape(-1, frames * mels), "log Mel")
        yield batch, values.reshape(-1, frames, mels)


def example_id(example: tf.train.Example) -> str:
    """Returns the id of an example, empty where it has none."""
    values = example.features.feature["id"].bytes_list.value
    return values[0].decode() if values else ""


def read_labels(folder: Path, *splits: str) -> dict[str, int]:
    """Reads the labels of splits, and with them every record once.

    Args:
        folder: Folder of features or training records.
        *splits: `train`, `val` or `test`.

    Returns:
        From id to label, in the order of the records; `UNLABELLED` for clips without an emotion.

    Raises:
        InputError: If a record is damaged or has no label, a label is not below the number of
            classes in the description beside the records, or an id is a duplicate.

    Example:
        >>> labels = read_labels(Path("features"), "train")
        >>> len(labels), labels["03-01-05-01-01-01-03"]
        (12, 0)
    """
    paths = [path for split in splits for path in shard_paths(folder, split)]
    labels: dict[str, int] = {}
    classes = _count_classes(folder)
    for batch in read_batches(paths, {"label": tf.io.RaggedFeature(tf.int64)}):
        label = batch.features["label"]
        batch.check(
            label.row_lengths().numpy() == 1,
            "every record must have a label; give a folder that ser-nsl extract-features made.",
        )
        values = label.flat_values.numpy()
        rule = f"a label must be below the number of classes, {classes}, or {UNLABELLED} for none; "
        batch.check((values >= UNLABELLED) & (values < classes), f"{rule}make the records again.")
        labels.update(zip(batch.ids, values.tolist(), strict=True))
    return labels


def _count_classes(folder: Path) -> float:
    """Number of classes in the description of a folder; any number where other tools made it."""
    path = place(folder) / "description.json"
    if not path.exists():
        return math.inf
    try:
        return len(json.loads(path.read_text())["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not a description of features ({error}).") from error


def read_embeddings(folder: Path, splits: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads embeddings.

    Args:
        folder: Folder of embeddings.
        splits: `train`, `val` or `test`.

    Returns:
        From id to float32 vector, shape `(width,)`, in the order of the records.

    Raises:
        InputError: If a record is damaged, was made by another upstream or layer than the first,
            or a vector has another width, or a number that is not finite or not below `LARGEST`.

    Example:
        >>> embeddings = read_embeddings(Path("embeddings"), ["train"])
        >>> len(embeddings), embeddings["03-01-05-01-01-01-03"].shape
        (12, (60,))
    """
    schema = {
        "embedding": tf.io.RaggedFeature(tf.float32),
        "upstream": tf.io.FixedLenFeature([], tf.string, ""),
    }
    embeddings: dict[str, np.ndarray] = {}
    width, upstream = 0, b""
    for batch in read_batches([p for split in splits for p in shard_paths(folder, split)], schema):
        vectors, makers = batch.features["embedding"], batch.features["upstream"].numpy()
        widths = vectors.row_lengths().numpy()
        if not embeddings:
            width, upstream = widths[0], makers[0]
        batch.check(
            makers == upstream,
            f"all embeddings must come from one upstream and layer, here "
            f"{upstream.decode(errors='replace') or 'unknown'}; embed all clips again.",
        )
        batch.check(
            (widths == width) & (width > 0),
            f"all embeddings must have one width, here {width}, and not 0; embed all clips again.",
        )
        values = vectors.flat_values.numpy().reshape(-1, width)
        batch.check_values(values, "embeddings")
        embeddings |= zip(batch.ids, values, strict=True)
    return embeddings


def read_upstream(folder: Path, split: str) -> str:
    """Reads the name of the upstream that made a folder's embeddings.

    Args:
        folder: Folder of embeddings.
        split: A split that it has.

    Returns:
        Hash of the checkpoint and the layer, from the first record; empty if it has none.

    Raises:
        InputError: If the record is damaged.
    """
    first = next(read_examples(shard_paths(folder, split)), tf.train.Example())
    values = first.features.feature["upstream"].bytes_list.value
    return b"".join(values).decode(errors="replace")


def parsed(paths: Iterable[Path], logmel_shape: tuple[int, int]) -> tf.data.Dataset:
    """Returns a dataset of features or training records as tensors, in order.

    Args:
        paths: TFRecord files.
        logmel_shape: (frames, mels).

    Returns:
        Elements are dictionaries with `id` (string), `logmel` (float32, `logmel_shape`) and
        `label` (int64).
    """
    schema = {
        "id": tf.io.RaggedFeature(tf.string),
        "logmel": tf.io.FixedLenFeature(logmel_shape, tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    records = tf.data.TFRecordDataset([str(path) for path in paths])

    def parse(raw: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = tf.io.parse_single_example(raw, schema)
        return clip | {"id": clip["id"][0]}

    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
