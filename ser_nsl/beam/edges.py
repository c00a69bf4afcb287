"""All pairs of clips with a high cosine similarity, found in one pair of blocks after the other.

Within a pair of blocks the search is that of `ser_nsl.graph.exact`, so the edges and their weights
are those of one machine.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np

from ser_nsl.beam.blocks import Chunk, PairBlocks
from ser_nsl.beam.letters import count
from ser_nsl.graph.exact import find_edges, find_edges_between
from ser_nsl.graph.vectors import Vectors

Neighbor = tuple[float, str]
"""The weight of an edge, rounded as the file tells it, and its target."""

_LEAST_NORM = 1e-6  # as in `ser_nsl.graph.vectors`


class FindEdges(beam.PTransform):
    """Compares all pairs of clips: from chunks to pairs of source and neighbour, both ways."""

    def __init__(self, blocks: int, threshold: float, max_neighbors: int | None) -> None:
        """Sets what an edge is.

        Args:
            blocks: Number of blocks.
            threshold: Least cosine, -1 to 1.
            max_neighbors: Most edges from a clip to the clips of one block; None for all.
        """
        super().__init__()
        self._blocks, self._threshold, self._max_neighbors = blocks, threshold, max_neighbors

    def expand(self, chunks: beam.PCollection[Chunk]) -> beam.PCollection[tuple[str, Neighbor]]:
        """Takes chunks; returns edges."""
        return (
            chunks
            | PairBlocks(self._blocks)
            | beam.ParDo(_Compare(self._threshold, self._max_neighbors)).with_output_types(
                tuple[str, Neighbor]
            )
        )


class _Compare(beam.DoFn):
    def __init__(self, threshold: float, max_neighbors: int | None) -> None:
        super().__init__()
        self._threshold, self._max_neighbors = threshold, max_neighbors

    def process(
        self, element: tuple[tuple[int, int], Iterable[Chunk]]
    ) -> Iterator[tuple[str, Neighbor]]:
        (one, other), chunks = element
        # In rising order of ids within each block, as ties are decided by the order of places.
        chunks = sorted(chunks, key=lambda chunk: (chunk[0], chunk[1][0]))
        ids = [utterance_id for _, part, _ in chunks for utterance_id in part]
        vectors = vectors_of(ids, b"".join(values for _, _, values in chunks))
        first = sum(len(part) for block, part, _ in chunks if block == one)
        limit = {"max_neighbors": self._max_neighbors}
        if one == other:
            count("pairs compared", first * (first - 1) // 2)
            edges = find_edges(vectors, self._threshold, quiet=True, **limit)
        else:
            count("pairs compared", first * (len(ids) - first))
            edges = find_edges_between(vectors, first, self._threshold, **limit)
        columns = (edges.sources.tolist(), edges.targets.tolist(), edges.weights.tolist())
        for source, target, weight in zip(*columns, strict=True):
            yield ids[source], (float(f"{weight:f}"), ids[target])


def vectors_of(ids: list[str], values: bytes) -> Vectors:
    """Makes the table of vectors that the search takes.

    Args:
        ids: Of the clips.
        values: Their float32 vectors.
    """
    table = np.frombuffer(values, np.float32).reshape(len(ids), -1)
    places = np.arange(len(ids))
    # With lengths of 1, a cosine with oneself is the squared length, in the builder's arithmetic.
    squares = Vectors(ids, table, np.ones(len(ids))).cosines(places, places)
    return Vectors(ids, table, np.maximum(np.sqrt(squares), _LEAST_NORM))


class WriteGraph(beam.PTransform):
    """Writes edges to `graph-00000-of-00004.tsv`: source, target and weight between tabs."""

    def __init__(self, prefix: str, shards: int) -> None:
        """Sets where to.

        Args:
            prefix: Path of the files up to their numbers.
            shards: Number of files; 0 leaves it to the runner.
        """
        super().__init__()
        self._prefix, self._shards = prefix, shards

    def expand(self, edges: beam.PCollection[tuple[str, list[Neighbor]]]) -> beam.PCollection:
        """Takes sources with their neighbours."""
        return (
            edges
            | beam.FlatMap(_lines)
            | beam.io.WriteToText(self._prefix, ".tsv", num_shards=self._shards)
        )


def _lines(edges: tuple[str, list[Neighbor]]) -> Iterator[str]:
    source, neighbors = edges
    count("edge lines", len(neighbors))
    for weight, target in neighbors:
        yield f"{source}\t{target}\t{weight:f}"
