"""The indexed form of training records: each clip's features once, and its neighbours' ids.

| File | Content |
|---|---|
| `train-00000-of-00004.tfrecord` | `id`, `label` (-1: none), `neighbor_ids`, `neighbor_weights` |
| `train-00000-of-00004.npy` | log Mel of the same clips in the same order, in dB |

The features of a record are bytes, int64, bytes and float, the nearest neighbour first; the arrays
are float32 of shape `(clips, frames, mels)`. Reading them gives the same tensors as official
records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.audio.batches import read_batches, read_examples, texts
from ser_nsl.audio.examples import LARGEST, UNLABELLED
from ser_nsl.audio.records import read_labels, read_logmels
from ser_nsl.audio.shards import new_shard_paths, shard_paths
from ser_nsl.errors import InputError
from ser_nsl.graph.linked import LinkedClips, check_weights, link_tables
from ser_nsl.graph.table import choose_neighbors, number_edges
from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.places import RemotePath

_CHECKED = 64  # clips read at a time
_NEIGHBORS = {"neighbor_ids": "string", "neighbor_weights": "float32"}


def write_indexed(
    features: Sequence[Path],
    out: Path,
    labels: Mapping[str, int],
    graph: pd.DataFrame,
    *,
    logmel_shape: tuple[int, int],
    max_neighbors: int,
    shards: int,
) -> Counter:
    """Writes every clip once, with or without a label, and the ids of its neighbours.

    Only ids and edges are held in memory. Clips with a label are dealt to the shards in turn, and
    separately those without: the labelled clips have the order of the same number of official
    shards.

    Args:
        features: Log Mel records.
        out: Existing folder.
        labels: Labels of all clips by id, in the order of the records.
        graph: Edges between these clips, as `read_graph` returns them.
        logmel_shape: (frames, mels).
        max_neighbors: Most neighbours of a clip.
        shards: Number of files of each kind, 1 to 99,999.

    Returns:
        Number of labelled clips by number of neighbours.

    Raises:
        InputError: If `shards` is out of range, or a record is damaged or of another size.
    """
    paths = new_shard_paths(out, "train", shards)
    shard_of = _in_turn(np.array([*labels.values()]) != UNLABELLED, shards)
    _write_logmels(features, [path.with_suffix(".npy") for path in paths], shard_of, logmel_shape)
    ids = sorted(labels)
    edges = choose_neighbors(number_edges(graph, ids).both_ways(), max_neighbors)
    starts = np.searchsorted(edges.sources, np.arange(len(ids) + 1, dtype=np.int32))
    slices = dict(zip(ids, map(slice, starts[:-1], starts[1:]), strict=True))
    by_shard = np.array([*labels], object)[np.argsort(shard_of, kind="stable")].tolist()
    ends = np.cumsum(np.bincount(shard_of, minlength=shards))
    degrees: Counter = Counter()
    for path, start, end in zip(paths, [0, *ends[:-1]], ends, strict=True):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for utterance_id in by_shard[start:end]:
                own, label = edges[slices[utterance_id]], labels[utterance_id]
                neighbor_ids = [ids[target] for target in own.targets]
                example = _example(utterance_id, label, neighbor_ids, own.weights)
                writer.write(example.SerializeToString(deterministic=True))
                if label != UNLABELLED:
                    degrees[len(own)] += 1
    return degrees


def _in_turn(labelled: np.ndarray, shards: int) -> np.ndarray:
    """Returns the shard of each clip; labelled and unlabelled clips are dealt separately."""
    turns = np.where(labelled, np.cumsum(labelled), np.cumsum(~labelled)) - 1
    return turns % shards


def _write_logmels(
    features: Sequence[Path],
    paths: Sequence[Path],
    shard_of: np.ndarray,
    logmel_shape: tuple[int, int],
) -> None:
    """Copies features to arrays row by row; pages of a memory map would fill the memory."""
    with ExitStack() as opened:
        files = [opened.enter_context(path.open("wb")) for path in paths]
        sizes = np.bincount(shard_of, minlength=len(paths)).tolist()
        for file, clips in zip(files, sizes, strict=True):
            header = {"descr": "<f4", "fortran_order": False, "shape": (clips, *logmel_shape)}
            np.lib.format.write_array_header_1_0(file, header)
        bar = opened.enter_context(Bar(total=len(shard_of), desc="packing", unit="clip"))
        start = 0
        for batch, logmels in read_logmels(features, logmel_shape):
            shards = shard_of[start : start + len(logmels)]
            for shard in np.unique(shards):
                files[shard].write(logmels[shards == shard].astype("<f4", copy=False))
            start += len(batch.ids)
            bar.update(len(batch.ids))


def _example(
    utterance_id: str, label: int, neighbor_ids: Sequence[str], weights: np.ndarray
) -> tf.train.Example:
    example = tf.train.Example()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(utterance_id.encode())
    feature["label"].int64_list.value.append(label)
    feature["neighbor_ids"].bytes_list.value.extend(name.encode() for name in neighbor_ids)
    feature["neighbor_weights"].float_list.value.extend(weights.tolist())
    return example


def is_indexed(paths: Sequence[Path]) -> bool:
    """Returns whether training records are indexed, judged by the first of them.

    Args:
        paths: TFRecord files.

    Raises:
        InputError: If the first record is damaged.
    """
    example = next(read_examples(paths), tf.train.Example())
    return "neighbor_ids" in example.features.feature


def open_indexed(
    folder: Path, splits: Sequence[str], logmel_shape: tuple[int, int], *, neighbors: int | None = 0
) -> LinkedClips:
    """Opens indexed training records; their features stay on disk.

    Args:
        folder: Folder with the training records.
        splits: Splits to read; `pack_neighbors` writes `train`.
        logmel_shape: (frames, mels).
        neighbors: Number of neighbours to read, more or fewer than were packed; None for the
            largest number that a clip has.

    Returns:
        All clips.

    Raises:
        InputError: If a record is damaged, names an unknown neighbour or has a weight that is not
            above 0, or the features of a shard are missing, cut off, or of another size.
    """
    labels = read_labels(folder, *splits)
    paths = [path for split in splits for path in shard_paths(folder, split)]
    row_of = {utterance_id: row for row, utterance_id in enumerate(labels)}
    clips: Counter = Counter()
    clip_rows, ranks, neighbor_rows, weights = [], [], [], []
    schema = {key: tf.io.RaggedFeature(tf.as_dtype(kind)) for key, kind in _NEIGHBORS.items()}
    for batch in read_batches(paths, schema):
        ids, values = (batch.features[name] for name in _NEIGHBORS)
        counts = ids.row_lengths().numpy()
        rule = "neighbor_ids and neighbor_weights must have one length; pack again."
        batch.check(counts == values.row_lengths().numpy(), rule)
        check_weights(batch, counts, values.flat_values.numpy())
        clip = np.repeat(np.arange(len(counts)), counts)
        rank = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
        used = slice(None) if neighbors is None else rank < neighbors
        names = texts(batch.path, ids.flat_values.numpy()[used])
        rows = [row_of.get(name, -1) for name in names]
        known = np.ones(len(counts), bool)
        known[clip[used][np.array(rows, int) < 0]] = False
        batch.check(known, "every neighbour must be a clip of these shards; pack again.")
        clip_rows.append(clip[used] + clips.total())
        ranks.append(rank[used])
        neighbor_rows.append(np.array(rows, np.int32))
        weights.append(values.flat_values.numpy()[used])
        clips[batch.path] += len(counts)
    edges = [np.concatenate(part) for part in (clip_rows, ranks, neighbor_rows, weights)]
    width = int(edges[1].max(initial=-1)) + 1 if neighbors is None else neighbors
    tables = link_tables(len(labels), width, *edges)
    logmels = [
        _map_logmels(path.with_suffix(".npy"), (clips[path], *logmel_shape)) for path in paths
    ]
    return LinkedClips([*labels], np.array([*labels.values()]), *tables, logmels)


def _map_logmels(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    try:
        if isinstance(path, RemotePath):  # cannot be mapped, so it is held in memory
            with path.open("rb") as file:
                logmels = np.load(file)
        else:
            logmels = np.load(path, mmap_mode="r")
    except InputError:
        raise
    except (EOFError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: is missing, cut off or damaged ({error}); pack again."
        ) from error
    if logmels.shape != shape or logmels.dtype != np.float32:
        raise InputError(
            f"{path}: must be float32 of shape {shape}, to fit the records beside it and the "
            f"features' description; received {logmels.dtype} {logmels.shape}. "
            "Pack again."
        )
    for start in range(0, len(logmels), _CHECKED):
        if not (np.abs(logmels[start : start + _CHECKED]) < LARGEST).all():
            raise InputError(
                f"{path}: every number must be finite and below {LARGEST:,.0f}; those of clip "
                f"{start} or of the {_CHECKED - 1} after it are not. Pack again."
            )
    return np.asarray(logmels)  # a memmap would make an object of every row
