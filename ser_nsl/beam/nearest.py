"""The nearest neighbours of each clip."""

import heapq
from collections.abc import Iterable

import apache_beam as beam

from ser_nsl.beam.edges import Neighbor


class NearestFn(beam.CombineFn):
    """Keeps the neighbours of the largest weights, and of equal ones those with the last ids.

    So they are those that `nsl.tools.pack_nbrs` takes. Runners combine before they shuffle, so
    from a bundle no more than these travel.
    """

    def __init__(self, max_neighbors: int | None) -> None:
        """Sets how many.

        Args:
            max_neighbors: Most neighbours of a clip, None for all.
        """
        super().__init__()
        self._max_neighbors = max_neighbors

    def create_accumulator(self) -> list[Neighbor]:
        """No neighbours."""
        return []

    def add_input(self, accumulator: list[Neighbor], neighbor: Neighbor) -> list[Neighbor]:
        """Takes a neighbour in; the list is a heap with the farthest first."""
        if len(accumulator) == self._max_neighbors:
            heapq.heappushpop(accumulator, neighbor)
        else:
            heapq.heappush(accumulator, neighbor)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Neighbor]]) -> list[Neighbor]:
        """Takes the neighbours of several lists in."""
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for neighbor in accumulator:
                self.add_input(merged, neighbor)
        return merged

    def extract_output(self, accumulator: list[Neighbor]) -> list[Neighbor]:
        """The neighbours, the nearest first."""
        return sorted(accumulator, reverse=True)


class KeepNearest(beam.PTransform):
    """From edges to pairs of source and its nearest neighbours, the nearest first."""

    def __init__(self, max_neighbors: int | None) -> None:
        """Sets how many.

        Args:
            max_neighbors: Most neighbours of a clip, None for all.
        """
        super().__init__()
        self._max_neighbors = max_neighbors

    def expand(
        self, edges: beam.PCollection[tuple[str, Neighbor]]
    ) -> beam.PCollection[tuple[str, list[Neighbor]]]:
        """Takes edges, each of which comes once."""
        return edges | beam.CombinePerKey(NearestFn(self._max_neighbors))
