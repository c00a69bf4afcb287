"""The stage that divides records by another manifest, so that folds need not compute them again."""

import heapq
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import example_id
from ser_nsl.audio.features import Description, Moments
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.shards import ShardWriter, copy_names, has_split, shard_paths
from ser_nsl.corpora.manifest import SPLITS, read_manifest
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage


@stage(inputs=("records", "manifest"), makes="folder", remote=("records",))
def resplit_records(
    *,
    records: Path,
    manifest: Path,
    out: Path,
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test"),
    standardise: bool = False,
) -> Mapping[str, Any]:
    """Divides the records of a corpus by another manifest of the same clips.

    The result is what the stage that made the records would have made from that manifest, without
    decoding or embedding a clip again. A cross-validation computes features and embeddings once
    and divides them for every fold.

    Args:
        records: Folder with features or embeddings of all clips, in any splits.
        manifest: Manifest of the same clips with other splits.
        out: Folder for `{split}-00000-of-00004.tfrecord`, in as many shards as the given records;
            for features also `description.json`, with mean and deviation of the new training split.
        splits: Splits to write, where the manifest has clips in them.
        standardise: For embeddings: scale each number to mean 0 and deviation 1 over the new
            training split, as `extract_mfccs` does.

    Returns:
        Number of clips of each split.

    Raises:
        InputError: If a clip of the manifest has no record, or records are damaged.

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
    description = Description.load(records) if (records / "description.json").exists() else None
    moments = Moments(description.front_end.mel_bins if description else 0)
    if standardise:
        vectors = read_embeddings(records, given)
        train = [vector for name, vector in vectors.items() if split_of.get(name) == "train"]
        mean, deviation = np.mean(train, axis=0, dtype=float), np.std(train, axis=0, dtype=float)
        deviation = np.maximum(deviation, 1e-6)  # numbers that never differ become 0
    missing = set(split_of.index[split_of.isin(splits)])
    with ExitStack() as opened:
        shards = len(shard_paths(records, given[0]))
        writers = {
            split: opened.enter_context(ShardWriter(out, split, shards))
            for split in splits
            if (split_of == split).any()
        }
        clips = Bar(_by_id(records, given), "dividing", len(split_of), unit="clip")
        for utterance_id, example in clips:
            split = split_of.get(utterance_id)
            feature = example.features.feature
            if description and split == "train":
                logmel = np.array(feature["logmel"].float_list.value)
                moments.update(logmel.reshape(description.logmel_shape))
            if split in writers:
                if standardise:
                    values = feature["embedding"].float_list.value
                    values[:] = (np.array(values) - mean) / deviation
                writers[split].write(example)
                missing.discard(utterance_id)
    for name in copy_names(records):
        with ShardWriter(out, name, shards) as writer:
            for utterance_id, example in _by_id(records, [name]):
                if utterance_id in split_of.index:
                    writer.write(example)
    rule = f"records: {records} lacks clips of {manifest}"
    refuse(sorted(missing), rule, "Make the records from all clips.")
    if description:
        means, deviations = moments.result()
        replace(description, mean=means, deviation=deviations).save(out)
    return {split: writer.written for split, writer in writers.items()}


def _by_id(records: Path, splits: list[str]) -> Iterator[tuple[str, Any]]:
    """Yields ids and examples by rising id, the order of manifests; in each shard ids rise."""
    shards = [path for split in splits for path in shard_paths(records, split)]
    streams = [((example_id(e), e) for e in read_examples([path])) for path in shards]
    return heapq.merge(*streams, key=itemgetter(0))
