"""A stand-in for NSL's packer: any features, any graph; runs where the official one does not."""

from __future__ import annotations

import warnings
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from ser_nsl.audio.batches import read_batches
from ser_nsl.errors import InputError
from ser_nsl.graph.table import Edges, choose_neighbors, graph_ids, number_edges, read_graph
from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar


def pack_nbrs(
    labeled_examples_path: str,
    unlabeled_examples_path: str,
    graph_path: str,
    output_training_data_path: str,
    add_undirected_edges: bool = False,
    max_nbrs: int | None = None,
    id_feature_name: str = "id",
) -> None:
    r"""Replaces `nsl.tools.pack_nbrs`, which cannot open a graph on Python 3.11.

    It writes the same records in the same order: each labelled one with all features of its
    neighbours, as `NL_nbr_<i>_<feature>`, their weights as `NL_nbr_<i>_weight`, and `NL_num_nbrs`.
    `pack_neighbors` is for clips: it knows splits and labels, and writes shards.

    Args:
        labeled_examples_path: TFRecord file of the records that get neighbours.
        unlabeled_examples_path: TFRecord file of records that are neighbours only; empty for none.
        graph_path: Graph, a TSV file: source, target and perhaps a weight, 1 by default.
        output_training_data_path: TFRecord file to write; it appears when it is complete.
        add_undirected_edges: Whether an edge counts in both directions, with the larger weight
            where they differ; otherwise neighbours are the targets of edges.
        max_nbrs: Most neighbours of a record: those of the largest weights, and of equal weights
            those with the last ids; all by default.
        id_feature_name: Name of the feature with the id.

    Raises:
        InputError: If `max_nbrs` is below 1, the graph is malformed (see `read_graph`), records
            are missing or damaged, an id is missing or twice in one file, or the output cannot
            be written.

    Warns:
        UserWarning: If edges lead from a labelled record to ids that have no record; they are left
            out before neighbours are chosen.

    Example:
        >>> import tensorflow as tf
        >>> with tf.io.TFRecordWriter("people.tfrecord") as writer:
        ...     for name in (b"ann", b"bob"):
        ...         names = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name]))
        ...         example = tf.train.Example(features=tf.train.Features(feature={"id": names}))
        ...         writer.write(example.SerializeToString())
        >>> _ = Path("friends.tsv").write_text("ann\tbob\n")
        >>> pack_nbrs("people.tfrecord", "", "friends.tsv", "packed.tfrecord")
        >>> ann = next(iter(tf.data.TFRecordDataset("packed.tfrecord"))).numpy()
        >>> sorted(tf.train.Example.FromString(ann).features.feature)
        ['NL_nbr_0_id', 'NL_nbr_0_weight', 'NL_num_nbrs', 'id']
    """
    if max_nbrs is not None and max_nbrs < 1:
        raise InputError(f"max_nbrs: must be 1 or more, or none for all; received {max_nbrs}.")
    graph = read_graph(Path(graph_path))
    ids = graph_ids(graph)
    labelled = _read(labeled_examples_path, id_feature_name)
    records = _read(unlabeled_examples_path, id_feature_name) if unlabeled_examples_path else {}
    records |= labelled
    edges = number_edges(graph, ids)
    edges = _among(edges.both_ways() if add_undirected_edges else edges, ids, labelled, records)
    nearest = choose_neighbors(edges, max_nbrs or len(ids))
    place_of = {name: place for place, name in enumerate(ids)}
    out = Path(output_training_data_path)
    begun = out.with_name(f".{out.name}.begun")
    try:
        with tf.io.TFRecordWriter(str(begun)) as writer:
            for name in Bar(labelled, desc="packing", unit="record"):
                own = nearest[_of_source(nearest, place_of.get(name, -1))]
                found = [records[ids[target]] for target in own.targets]
                writer.write(merged(labelled[name], found, own.weights.tolist()))
        begun.replace(out)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"{out}: cannot be written ({error}); free some space or choose a folder you may write "
            "to, then run again."
        ) from error
    finally:
        begun.unlink(missing_ok=True)


def _read(path: str, id_feature: str) -> dict[str, bytes]:
    """Reads records by id, in their order."""
    return {
        name: record
        for batch in read_batches([Path(path)], {}, id_feature=id_feature)
        for name, record in zip(batch.ids, batch.records, strict=True)
    }


def _among(
    edges: Edges, ids: Sequence[str], labelled: Container[str], records: Container[str]
) -> Edges:
    """Returns the edges from labelled records to records, and warns of those that lead nowhere."""
    starts = np.array([name in labelled for name in ids], bool)
    ends = np.array([name in records for name in ids], bool)
    edges = edges[starts[edges.sources]]
    lost = np.unique(edges.targets[~ends[edges.targets]])
    if len(lost):
        first = ", ".join(ids[i] for i in lost[:3])
        warnings.warn(
            f"pack_nbrs: edges lead to {len(lost)} ids that have no record and are left out "
            f"(first: {first}); give their records, or build the graph again.",
            stacklevel=3,
        )
    return edges[ends[edges.targets]]


def _of_source(edges: Edges, source: int) -> slice:
    """Returns where the edges of a source are, in edges sorted by source."""
    return slice(*np.searchsorted(edges.sources, [source, source + 1]))


def merged(record: bytes, neighbors: Sequence[bytes], weights: Sequence[float]) -> bytes:
    """Returns a record with the features of its neighbours.

    Args:
        record: Its own record, a serialised `tf.train.Example`.
        neighbors: Those of its neighbours, the nearest first.
        weights: Weights of the edges to them.
    """
    example = tf.train.Example.FromString(record)
    feature = example.features.feature
    feature["NL_num_nbrs"].int64_list.value.append(len(neighbors))
    for rank, (neighbor, weight) in enumerate(zip(neighbors, weights, strict=True)):
        feature[f"NL_nbr_{rank}_weight"].float_list.value.append(weight)
        for name, values in tf.train.Example.FromString(neighbor).features.feature.items():
            feature[f"NL_nbr_{rank}_{name}"].CopyFrom(values)
    # Maps are serialised in hash order by default, which differs between processes.
    return example.SerializeToString(deterministic=True)
