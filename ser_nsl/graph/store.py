"""Edges in the order of their sources, however many: what memory should not hold goes to disk."""

from collections.abc import Iterator
from typing import IO

import numpy as np

from ser_nsl.graph.table import Edges

_PENDING = 2**19  # edges held in memory, 16 bytes each, before they are written to the disk
_RANGES = 256  # ranges of sources, of which one is in memory at a time when edges are read back
_EDGE = np.dtype([("source", "<i4"), ("target", "<i4"), ("weight", "<f8")])


class EdgeStore:
    """Directed edges that come in any order and leave sorted by source and target.

    Beyond half a million edges, sorted runs of them lie in a file. Reading joins the pieces of all
    runs for one range of sources after the other.
    """

    def __init__(self, clips: int, file: IO[bytes]) -> None:
        """Starts empty.

        Args:
            clips: Number of clips.
            file: Empty file for what memory should not hold, open for writing and reading.
        """
        self._starts = np.arange(0, clips, max(1, -(-clips // _RANGES)), dtype=np.int32)
        self._file = file
        self._waiting: list[Edges] = []
        self._pending = 0
        self._runs: list[np.ndarray] = []  # places of the ranges in the file, in edges

    def add(self, edges: Edges) -> None:
        """Adds edges."""
        self._waiting.append(edges)
        self._pending += len(edges)
        if self._pending > _PENDING:
            self._write_run()

    def parts(self) -> Iterator[Edges]:
        """Yields all edges, sorted by source and target."""
        if not self._runs:
            yield Edges.join(self._waiting).in_order()
            return
        self._write_run()
        for number in range(len(self._starts)):
            table = np.concatenate([self._read(*places[number:][:2]) for places in self._runs])
            yield Edges(table["source"], table["target"], table["weight"]).in_order()

    def _write_run(self) -> None:
        edges = Edges.join(self._waiting).in_order()
        self._waiting, self._pending = [], 0
        table = np.empty(len(edges), _EDGE)
        table["source"], table["target"] = edges.sources, edges.targets
        table["weight"] = edges.weights
        first = self._runs[-1][-1] if self._runs else 0
        self._runs.append(first + np.append(edges.sources.searchsorted(self._starts), len(edges)))
        self._file.write(table.data)

    def _read(self, first: int, end: int) -> np.ndarray:
        self._file.seek(first * _EDGE.itemsize)
        return np.frombuffer(self._file.read((end - first) * _EDGE.itemsize), _EDGE)
