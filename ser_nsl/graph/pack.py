"""The stage that writes training records, official or indexed."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.audio.records import read_labels, read_logmels
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.corpora.labels import check_splits
from ser_nsl.errors import InputError, check_least
from ser_nsl.graph.build import OFFICIAL_CLIPS
from ser_nsl.graph.indexed import write_indexed
from ser_nsl.graph.table import check_edges, graph_files, read_graph
from ser_nsl.lazy import tf
from ser_nsl.pipeline.stage import stage


@stage(inputs=("features", "graph"), makes="folder", remote=("features", "graph"))
def pack_neighbors(
    *,
    features: Path,
    graph: Path,
    out: Path,
    max_neighbors: int = 3,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
    shards: int = 4,
    form: Literal["auto", "official", "indexed"] = "auto",
) -> Mapping[str, Any]:
    """Writes training records: each labelled clip with the features of its nearest neighbours.

    An edge counts in both directions, with the larger weight where they differ; of equally similar
    neighbours those with the last ids are taken. Clips without a label serve as neighbours.

    Args:
        features: Folder with the log Mel records.
        graph: Graph of clips of these splits: a TSV file, or the folder of shards of
            `ser-nsl beam-graph`.
        out: Folder for `train-00000-of-00004.tfrecord` and the features' description.
        max_neighbors: Most neighbours of a clip, the most similar first.
        splits: Splits whose clips train and serve as neighbours.
        shards: Number of files of each kind.
        form: `official` is what `nsl.tools.pack_nbrs` writes, for interchange: every record
            holds copies of the neighbours' features, and all is in memory at once. `indexed`
            holds each clip's features once, in a `.npy` file beside each shard: faster, and
            smaller by about the number of neighbours. It keeps all clips without a label and
            their neighbours, `official` only those that are neighbours of a labelled clip; where
            all clips have labels, both train to the same weights. `auto` is `official` up to 2,000
            clips that all have labels, else `indexed`.

    Returns:
        The form, the numbers of labelled and unlabelled clips, and the number of labelled clips
        by number of neighbours.

    Raises:
        InputError: If the test split is among the splits, the graph names clips that have no
            features, is malformed (see `read_graph`) or empty, or records are damaged or do not fit
            their description.

    Example:
        >>> made = pack_neighbors(
        ...     features=Path("features"), graph=Path("graph.tsv"), out=Path("two"), max_neighbors=2
        ... )
        >>> made.counts["form"], made.counts["labelled"], max(made.counts["clips_by_neighbors"])
        ('official', 12, 2)
    """
    check_least(1, max_neighbors=max_neighbors)
    check_splits(splits)
    logmel_shape = Description.load(features).logmel_shape
    edges = read_graph(graph, for_training=True)
    if edges.empty:
        raise InputError(
            f"{graph}: has no edge; build it again with a lower --similarity-threshold."
        )
    labels = read_labels(features, *splits)
    check_edges(edges, labels, path=graph, where=f"{features} ({', '.join(splits)})")
    if form == "auto":
        all_labelled = UNLABELLED not in labels.values()
        form = "official" if len(labels) <= OFFICIAL_CLIPS and all_labelled else "indexed"
    files = [path for split in splits for path in shard_paths(features, split)]
    settings: dict[str, Any] = {
        "logmel_shape": logmel_shape,
        "max_neighbors": max_neighbors,
        "shards": shards,
    }
    if form == "official":
        degrees = _pack_officially(files, out, labels, graph, **settings)
    else:
        degrees = write_indexed(files, out, labels, edges, **settings)
    (out / "description.json").write_bytes((features / "description.json").read_bytes())
    seeds = degrees.total()
    return {
        "form": form,
        "labelled": seeds,
        "unlabelled": len(labels) - seeds,
        "clips_by_neighbors": dict(sorted(degrees.items())),
    }


def _pack_officially(
    features: Sequence[Path],
    out: Path,
    labels: Mapping[str, int],
    graph: Path,
    *,
    logmel_shape: tuple[int, int],
    max_neighbors: int,
    shards: int,
) -> Counter:
    """Runs `nsl.tools.pack_nbrs` and divides its file; counts clips by number of neighbours."""
    import neural_structured_learning as nsl

    with tempfile.TemporaryDirectory(dir=out) as folder:
        labelled, unlabelled = Path(folder) / "labelled", Path(folder) / "unlabelled"
        _divide(features, labels, logmel_shape, labelled, unlabelled)
        packed, whole = Path(folder) / "packed", Path(folder) / "graph.tsv"
        whole.write_bytes(b"".join(file.read_bytes() for file in graph_files(graph)))
        logging.getLogger("absl").setLevel(logging.WARNING)
        with _readable_graphs():
            nsl.tools.pack_nbrs(
                str(labelled),
                str(unlabelled),
                str(whole),
                str(packed),
                add_undirected_edges=True,
                max_nbrs=max_neighbors,
            )
        return _share_out(packed, out, shards)


@contextlib.contextmanager
def _readable_graphs() -> Iterator[None]:
    """Lets NSL 1.4.0 open a graph on Python 3.11, which has no mode "rU" any more."""
    from neural_structured_learning.tools import graph_utils

    def open_text(name: str, mode: str) -> IO[Any]:
        return Path(name).open(mode.replace("U", ""))

    graph_utils.open = open_text
    try:
        yield
    finally:
        del graph_utils.open


def _divide(
    features: Sequence[Path],
    labels: Mapping[str, int],
    logmel_shape: tuple[int, int],
    labelled: Path,
    unlabelled: Path,
) -> None:
    """Copies the clips with a label to one file and those without to another, for the packer."""
    with (
        tf.io.TFRecordWriter(str(labelled)) as with_label,
        tf.io.TFRecordWriter(str(unlabelled)) as without,
    ):
        for batch, _ in read_logmels(features, logmel_shape):
            for utterance_id, record in zip(batch.ids, batch.records, strict=True):
                writer = without if labels[utterance_id] == UNLABELLED else with_label
                writer.write(record)


def _share_out(packed: Path, out: Path, shards: int) -> Counter:
    """Divides the packer's one file into shards; counts clips by number of neighbours."""
    degrees: Counter = Counter()
    with ShardWriter(out, "train", shards) as writer:
        for example in read_examples([packed]):
            degrees[example.features.feature["NL_num_nbrs"].int64_list.value[0]] += 1
            writer.write(example)
    return degrees
