"""The stage that joins each clip with its neighbours' features, by the official packer."""

import contextlib
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import neural_structured_learning as nsl
import tensorflow as tf
from neural_structured_learning.tools import graph_utils

from ser_nsl.errors import InputError
from ser_nsl.graph.table import check_ids, read_graph
from ser_nsl.records import UNLABELLED, ShardWriter, read_examples, shard_paths
from ser_nsl.stage import stage


@stage(inputs=("features", "graph"), makes="folder")
def pack_neighbors(
    *,
    features: Path,
    graph: Path,
    out: Path,
    max_neighbors: int = 3,
    splits: tuple[str, ...] = ("train",),
    shards: int = 4,
) -> Mapping[str, Any]:
    """Writes training records: each labelled clip with the features of its nearest neighbours.

    `nsl.tools.pack_nbrs` joins them. Clips without a label serve as neighbours.

    Args:
        features: Log Mel records.
        graph: Edges between clips of these splits.
        out: Folder for `train-00000-of-00004.tfrecord` and the features' description.
        max_neighbors: Most neighbours of a clip, the most similar first.
        splits: Which clips train and serve as neighbours.
        shards: Number of files.

    Returns:
        Numbers of labelled and unlabelled clips, and how many clips have how many neighbours.

    Raises:
        InputError: If the graph names clips that have no features, is malformed or empty, or
            records are damaged.
    """
    if max_neighbors < 1:
        raise InputError(f"max_neighbors: must be at least 1; received {max_neighbors}.")
    edges = read_graph(graph)
    if edges.empty:
        raise InputError(
            f"{graph}: has no edge; build it again with a lower --similarity-threshold."
        )
    with tempfile.TemporaryDirectory(dir=out) as folder:
        labelled, unlabelled = Path(folder) / "labelled", Path(folder) / "unlabelled"
        ids = _divide(features, splits, labelled, unlabelled)
        check_ids(edges, ids, path=graph, where=f"{features} ({', '.join(splits)})")
        packed = Path(folder) / "packed"
        logging.getLogger("absl").setLevel(logging.WARNING)
        with _readable_graphs():
            nsl.tools.pack_nbrs(
                str(labelled),
                str(unlabelled),
                str(graph),
                str(packed),
                add_undirected_edges=True,
                max_nbrs=max_neighbors,
            )
        degrees = _share_out(packed, out, shards)
    shutil.copy(features / "description.json", out)
    seeds = sum(degrees.values())
    return {
        "labelled": seeds,
        "unlabelled": len(ids) - seeds,
        "clips_by_neighbors": dict(sorted(degrees.items())),
    }


@contextlib.contextmanager
def _readable_graphs() -> Iterator[None]:
    """Lets NSL 1.4.0 open a graph on Python 3.11, which no longer knows its mode "rU"."""

    def open_text(name: str, mode: str) -> TextIO:
        return Path(name).open(mode.replace("U", ""))

    graph_utils.open = open_text
    try:
        yield
    finally:
        del graph_utils.open


def _divide(features: Path, splits: Iterable[str], labelled: Path, unlabelled: Path) -> list[str]:
    """Copies clips with and without a label into one file each, as the packer reads them."""
    ids = []
    paths = [path for split in splits for path in shard_paths(features, split)]
    with (
        tf.io.TFRecordWriter(str(labelled)) as with_label,
        tf.io.TFRecordWriter(str(unlabelled)) as without,
    ):
        for example in read_examples(paths):
            feature = example.features.feature
            ids.append(feature["id"].bytes_list.value[0].decode())
            is_labelled = feature["label"].int64_list.value[0] != UNLABELLED
            (with_label if is_labelled else without).write(example.SerializeToString())
    return ids


def _share_out(packed: Path, out: Path, shards: int) -> Counter:
    """Divides the packer's one file into shards; counts clips by number of neighbours."""
    degrees: Counter = Counter()
    with ShardWriter(out, "train", shards) as writer:
        for example in read_examples([packed]):
            degrees[example.features.feature["NL_num_nbrs"].int64_list.value[0]] += 1
            writer.write(example)
    return degrees
