"""The files of records: sharded TFRecord files, which a killed writer goes on with.

A split is `train-00000-of-00004.tfrecord` and so on. Features may have damaged copies of their
clips in `copy1-...`, beside the splits, with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count, islice, takewhile
from pathlib import Path

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.pipeline.places import place
from ser_nsl.pipeline.record import check_whole


class ShardWriter(ExitStack):
    """Writes examples to `{split}-00000-of-00004.tfrecord` files, in turn.

    A context manager: `with ShardWriter(folder, "train", 4) as writer: writer.write(example)`.

    Attributes:
        written: Number of examples so far.

    Example:
        >>> import numpy as np
        >>> from ser_nsl.audio import embedding_example, read_embeddings
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
