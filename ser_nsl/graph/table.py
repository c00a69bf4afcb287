"""`graph.tsv`: one directed edge per line, `source<TAB>target<TAB>weight`.

A Beam run writes a folder of such files, `graph-00000-of-00004.tsv` and so on, which is read as
one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.errors import InputError, refuse

_MICRO = 1e6  # a weight has six decimals in the file
_LINES = 100_000  # lines written at a time


@dataclass(frozen=True)
class Edges:
    """Directed edges between clips, which are numbered in the order of their ids.

    Attributes:
        sources: int32, shape `(edges,)`.
        targets: int32, shape `(edges,)`.
        weights: float64, shape `(edges,)`.
    """

    sources: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, chosen: np.ndarray | slice) -> "Edges":
        return Edges(self.sources[chosen], self.targets[chosen], self.weights[chosen])

    @staticmethod
    def join(parts: Iterable["Edges"]) -> "Edges":
        """Concatenates edges."""
        parts = [NO_EDGES, *parts]
        return Edges(
            np.concatenate([part.sources for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def both_ways(self) -> "Edges":
        """Returns these edges and their reverses."""
        return Edges.join([self, Edges(self.targets, self.sources, self.weights)])

    def pairs(self) -> int:
        """Returns the number of undirected edges."""
        ends = np.sort(np.stack([self.sources, self.targets]), axis=0).astype(np.int64)
        return len(np.unique(ends[0] << 32 | ends[1]))

    def in_order(self) -> "Edges":
        """Returns the edges sorted by source and target."""
        return self[np.lexsort((self.targets, self.sources))]

    def nearest(self, count: int) -> "Edges":
        """Returns the edges that `nsl.tools.pack_nbrs` takes.

        Args:
            count: Most edges of a source: those of the largest weights as rounded in the file,
                and of equal weights those to the last ids.

        Returns:
            Edges sorted by source, the most similar first.
        """
        ordered = self[np.lexsort((-self.targets, -_as_written(self.weights), self.sources))]
        ranks = np.arange(len(self)) - np.searchsorted(ordered.sources, ordered.sources)
        return ordered[ranks < count]


NO_EDGES = Edges(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float64))


def _as_written(weights: np.ndarray) -> np.ndarray:
    """Returns weights in millionths, rounded as in the file."""
    exact = weights * _MICRO
    rounded = np.rint(exact)
    unsure = np.flatnonzero(np.abs(np.abs(exact - rounded) - 0.5) < 1e-6)
    rounded[unsure] = [round(float(f"{weight:f}") * _MICRO) for weight in weights[unsure]]
    return rounded


def write_graph(path: Path, ids: Sequence[str], edges: Edges) -> None:
    """Writes a graph in the order of its edges; the file appears when it is complete.

    Args:
        path: The TSV file.
        ids: Ids of the clips, in rising order.
        edges: Edges between them.

    Raises:
        OSError: If the file cannot be written, as on a full disk; an earlier file stays.
    """
    begun = path.with_name(f".{path.name}.begun")
    try:
        with begun.open("w") as file:
            for start in range(0, len(edges), _LINES):
                part = edges[slice(start, start + _LINES)]
                columns = (part.sources.tolist(), part.targets.tolist(), part.weights.tolist())
                file.writelines(
                    f"{ids[source]}\t{ids[target]}\t{weight:f}\n"
                    for source, target, weight in zip(*columns, strict=True)
                )
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)


def read_graph(path: Path) -> pd.DataFrame:
    """Reads a graph.

    Args:
        path: The TSV file, or a folder of its shards; a missing weight is 1, as in `nsl.tools`.

    Returns:
        Columns `source`, `target` (text) and `weight` (float), in the order of the lines.

    Raises:
        InputError: If a line has another form, an id is empty, a weight is not finite, or shards
            are missing.

    Example:
        >>> graph = read_graph(Path("graph.tsv"))
        >>> graph.columns.tolist()
        ['source', 'target', 'weight']
    """
    rows: list[tuple[str, str, float]] = []
    for file in graph_files(path):
        with file.open() as lines:
            rows += [_read_edge(line, f"{file}: line {i}") for i, line in enumerate(lines, start=1)]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def graph_files(path: Path) -> list[Path]:
    """Finds the files of a graph.

    Args:
        path: A TSV file, or a folder of its shards.

    Returns:
        The file, or the shards in order.

    Raises:
        InputError: If the folder holds no shards, or not all of them.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    shards = sorted(path.glob("graph-*-of-*.tsv"))
    names = [f"graph-{i:05d}-of-{len(shards):05d}.tsv" for i in range(len(shards))]
    if not shards or [shard.name for shard in shards] != names:
        raise InputError(
            f"graph: the folder {path} must hold all shards of a graph, graph-00000-of-....tsv and "
            f"so on; received {len(shards)}. Give a graph's file, or OUT/graph of "
            "ser-nsl beam-graph."
        )
    return shards


def _read_edge(line: str, where: str) -> tuple[str, str, float]:
    fields = line.rstrip("\n").split("\t")
    try:
        source, target = fields[:2]
        weight = float(fields[2]) if len(fields) == 3 else 1.0
        if len(fields) > 3 or not source or not target or not abs(weight) < float("inf"):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"{where} must be source<TAB>target<TAB>weight; received {line!r}. "
            "Build the graph again."
        ) from error
    return source, target, weight


def check_edges(graph: pd.DataFrame, known: Iterable[str], *, path: Path, where: str) -> None:
    """Checks that every edge joins two known clips.

    Args:
        graph: As `read_graph` returns it.
        known: Ids of the known clips.
        path: File of the graph, for the error.
        where: Name of the source of the known clips, for the error.

    Raises:
        InputError: If an id is unknown or joined with itself; the message names the first three.
    """
    ids = set(graph["source"]) | set(graph["target"])
    unknown = sorted(ids - set(known))
    rule = f"{path}: {len(ids)} clips, of which some are not in {where}"
    refuse(unknown, rule, "Give the manifest or features and the splits of the graph.")
    loops = graph.loc[graph["source"] == graph["target"], "source"].unique()
    refuse(loops, f"{path}: edges join a clip with itself", "Build the graph again.")
