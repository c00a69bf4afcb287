"""The stage that divides records by another manifest, so that folds need not compute them again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ser_nsl.audio.features import Description, Moments
from ser_nsl.audio.records import (
    ShardWriter,
    embedding_example,
    example_id,
    has_split,
    read_embeddings,
    read_examples,
    read_upstream,
    shard_paths,
)
from ser_nsl.corpora.manifest import SPLITS, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

if TYPE_CHECKING:
    import tensorflow as tf


@stage(inputs=("records", "manifest"), makes="folder")
def resplit_records(
    *,
    records: Path,
    manifest: Path,
    out: Path,
    splits: tuple[Literal["train", "val", "test"], ...] = SPLITS,
    standardise: bool = False,
) -> Mapping[str, Any]:
    """Divides the records of a corpus by another manifest of the same clips.

    The result is what the stage that made the records would have made from that manifest, without
    decoding or embedding a clip again. A cross-validation computes features and embeddings once
    and divides them for every fold.

    Args:
        records: Folder with features or embeddings of all clips, in any splits.
        manifest: The same clips with other splits.
        out: Folder for `{split}-00000-of-00004.tfrecord`, in as many shards as the given records;
            for features also `description.json`, with mean and deviation of the new training split.
        splits: Splits to write, where the manifest has clips in them.
        standardise: For embeddings: scale each number to mean 0 and deviation 1 over the new
            training split, as `extract_mfccs` does.

    Returns:
        Number of clips of each split.

    Raises:
        InputError: If a clip of the manifest has no record, no clip trains, or records are damaged.

    Example:
        >>> made = resplit_records(
        ...     records=Path("features"), manifest=Path("manifest.csv"), out=Path("again")
        ... )
        >>> made.counts
        {'train': 12, 'val': 12, 'test': 12}
        >>> (Path("again") / "description.json").read_bytes() == (
        ...     Path("features") / "description.json"
        ... ).read_bytes()
        True
    """
    split_of = read_manifest(manifest).set_index("utterance_id")["split"]
    given = [split for split in SPLITS if has_split(records, split)]
    if not given:
        raise InputError(f"records: {records} holds no records; give features or embeddings.")
    shards = len(shard_paths(records, given[0]))
    moments = None
    if (Path(records) / "description.json").exists():
        description = Description.load(records)
        moments = Moments(description.front_end.mel_bins)
    if moments is not None:
        examples = _examples(records, given)
    else:
        examples = _embeddings(records, given, split_of if standardise else None)
    written = set()
    with ExitStack() as opened:
        writers = {
            split: opened.enter_context(ShardWriter(out, split, shards))
            for split in splits
            if (split_of == split).any()
        }
        for utterance_id, example in examples:
            split = split_of.get(utterance_id)
            if split in writers:
                writers[split].write(example)
                written.add(utterance_id)
            if moments is not None and split == "train":
                logmel = np.array(example.features.feature["logmel"].float_list.value, np.float32)
                moments.update(logmel.reshape(description.logmel_shape))
    missing = [key for key, split in split_of.items() if split in writers and key not in written]
    if missing:
        raise InputError(
            f"records: {records} lacks {len(missing)} clips of {manifest} (first: "
            f"{', '.join(missing[:3])}); make the records from all clips."
        )
    if moments is not None:
        mean, deviation = moments.result()
        replace(description, mean=mean, deviation=deviation).save(out)
    return {split: writer.written for split, writer in writers.items()}


def _examples(records: Path, splits: list[str]) -> Iterator[tuple[str, tf.train.Example]]:
    """Yields records by rising id, the order of a manifest; in each shard ids rise already."""
    shards = [path for split in splits for path in shard_paths(records, split)]
    streams = [((example_id(each), each) for each in read_examples([path])) for path in shards]
    yield from heapq.merge(*streams, key=lambda pair: pair[0])


def _embeddings(
    records: Path, splits: list[str], split_of: pd.Series | None
) -> Iterator[tuple[str, tf.train.Example]]:
    """Yields embeddings by rising id, standardised over the training clips of `split_of`."""
    if split_of is None:
        yield from _examples(records, splits)
        return
    from sklearn.preprocessing import StandardScaler

    vectors = dict(sorted(read_embeddings(records, splits).items()))
    values = np.stack([*vectors.values()]).astype(np.float64)
    trains = np.array([split_of.get(key) == "train" for key in vectors])
    values = StandardScaler().fit(values[trains]).transform(values).astype(np.float32)
    upstream = read_upstream(records, splits[0])
    for key, vector in zip(vectors, values, strict=True):
        yield key, embedding_example(key, vector, upstream)
