"""Reads what folders of records hold: log Mel, labels, embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ser_nsl.audio.batches import Batch, read_batches, read_examples
from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.shards import shard_paths
from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.pipeline.places import place


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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
