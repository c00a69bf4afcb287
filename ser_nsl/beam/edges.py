"""All pairs of clips with a high cosine similarity, found in one pair of blocks after the other.

Within a pair of blocks the search is that of `ser_nsl.graph.exact`, so edges and weights are the
same as on one machine.
"""

import sys
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np

from ser_nsl.beam.blocks import Chunk, pair_blocks
from ser_nsl.beam.dead_letters import count
from ser_nsl.graph.exact import find_edges, find_edges_between
from ser_nsl.graph.vectors import LEAST_NORM, Vectors

Neighbor = tuple[float, str]
"""The weight of an edge, rounded as in the file, and its target."""


@beam.ptransform_fn
def compare_clips(
    chunks: beam.PCollection, blocks: int, threshold: float, max_neighbors: int | None
) -> beam.PCollection:
    """Compares all pairs of clips.

    Args:
        chunks: The chunks of all blocks.
        blocks: Number of blocks.
        threshold: Least cosine of an edge, -1 to 1.
        max_neighbors: Most edges from a clip to the clips of one block; None for all.

    Returns:
        Pairs of source and `Neighbor`, each edge in both directions.
    """
    return (
        chunks
        | "pair" >> pair_blocks(blocks)
        | beam.FlatMap(_compare, threshold, max_neighbors).with_output_types(tuple[str, Neighbor])
    )


def _compare(
    element: tuple[tuple[int, int], Iterable[Chunk]], threshold: float, max_neighbors: int | None
) -> Iterator[tuple[str, Neighbor]]:
    (one, other), chunks = element
    # Ids in rising order within each block, since the order of places decides ties.
    chunks = sorted(chunks, key=lambda chunk: (chunk[0], chunk[1][0]))
    ids = [utterance_id for _, part, _ in chunks for utterance_id in part]
    vectors = make_vectors(ids, b"".join(values for _, _, values in chunks))
    first = sum(len(part) for block, part, _ in chunks if block == one)
    if one == other:
        count("pairs compared", first * (first - 1) // 2)
        edges = find_edges(vectors, threshold, quiet=True, max_neighbors=max_neighbors)
    else:
        count("pairs compared", first * (len(ids) - first))
        edges = find_edges_between(vectors, first, threshold, max_neighbors=max_neighbors)
    columns = (edges.sources.tolist(), edges.targets.tolist(), edges.weights.tolist())
    for source, target, weight in zip(*columns, strict=True):
        yield ids[source], (float(f"{weight:f}"), ids[target])


def make_vectors(ids: list[str], values: bytes) -> Vectors:
    """Makes the table of vectors that the search takes.

    Args:
        ids: Ids of the clips.
        values: Their float32 vectors.
    """
    table = np.frombuffer(values, np.float32).reshape(len(ids), -1)
    places = np.arange(len(ids))
    # With norms of 1, a clip's cosine with itself is its squared norm, in the builder's arithmetic.
    squares = Vectors(ids, table, np.ones(len(ids))).cosines(places, places)
    return Vectors(ids, table, np.maximum(np.sqrt(squares), LEAST_NORM))


@beam.ptransform_fn
def keep_nearest(edges: beam.PCollection, max_neighbors: int | None) -> beam.PCollection:
    """Keeps the nearest neighbours of each clip, of equally near ones those with the last ids.

    These are the neighbours that `nsl.tools.pack_nbrs` takes.

    Args:
        edges: Pairs of source and `Neighbor`, each edge once.
        max_neighbors: Most neighbours of a clip; None for all.

    Returns:
        Pairs of source and a list of `Neighbor`s, the nearest first.
    """
    # Runners combine before they shuffle too, so no worker sends more than these.
    return edges | beam.combiners.Top.PerKey(max_neighbors or sys.maxsize)


@beam.ptransform_fn
def write_graph(nearest: beam.PCollection, prefix: str, shards: int) -> beam.PCollection:
    """Writes edges to `PREFIX-00000-of-00004.tsv`: source, target and weight, separated by tabs.

    Args:
        nearest: Pairs of source and a list of `Neighbor`s.
        prefix: Path of the files up to their numbers.
        shards: Number of files; 0 leaves it to the runner.
    """
    return (
        nearest | beam.FlatMapTuple(_lines) | beam.io.WriteToText(prefix, ".tsv", num_shards=shards)
    )


def _lines(source: str, neighbors: list[Neighbor]) -> Iterator[str]:
    count("edge lines", len(neighbors))
    for weight, target in neighbors:
        yield f"{source}\t{target}\t{weight:f}"
