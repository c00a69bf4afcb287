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
from ser_nsl.pipeline.places import place
from ser_nsl.pipeline.record import check_whole

_COLUMNS = ["source", "target", "weight"]
_NOT_PLAIN = {
    b"\x1f\x8b": "is compressed by gzip. Unpack it: gunzip",
    b"\xef\xbb\xbf": "begins with a byte order mark. Save it without one",
    b"\xff\xfe": "is UTF-16. Save it as UTF-8",
    b"\xfe\xff": "is UTF-16. Save it as UTF-8",
}
_LEAST = float(np.finfo(np.float32).smallest_subnormal)  # weights are float32 in training
_MOST = float(np.finfo(np.float32).max)
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
        return len(np.unique(self.numbers()))

    def numbers(self) -> np.ndarray:
        """Numbers edges, the same in both directions: int64, shape `(edges,)`."""
        ends = np.sort(np.stack([self.sources, self.targets]), axis=0).astype(np.int64)
        return ends[0] << 32 | ends[1]

    def in_order(self) -> "Edges":
        """Returns the edges sorted by source and target."""
        return self[np.lexsort((self.targets, self.sources))]

    def distinct(self) -> "Edges":
        """Returns, of edges sorted by source and target, the first from one clip to another."""
        is_new = (np.diff(self.sources, prepend=-1) != 0) | (np.diff(self.targets, prepend=-1) != 0)
        return self[is_new]

    def nearest(self, count: int) -> "Edges":
        """Returns the edges that `nsl.tools.pack_nbrs` takes.

        Args:
            count: Most edges of a source: those of the largest weights as rounded in the file,
                and of equal weights those to the last ids.

        Returns:
            Edges sorted by source, the most similar first.
        """
        return self._nearest(_as_written(self.weights), count)

    def _nearest(self, weights: np.ndarray, count: int) -> "Edges":
        """Returns the first edges of each source by these weights, then by the last ids."""
        ordered = self[np.lexsort((-self.targets, -weights, self.sources))]
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


def choose_neighbors(edges: Edges, count: int) -> Edges:
    """Chooses the neighbours that `nsl.tools.pack_nbrs` chooses.

    Of several edges from one clip to another, the one with the largest weight counts.

    Args:
        edges: Edges to the clips that may be chosen.
        count: Most neighbours of a clip: those of the largest weights, and of equal weights those
            with the last ids.

    Returns:
        Edges sorted by source, the nearest neighbour first.
    """
    edges = edges[np.lexsort((-edges.weights, edges.targets, edges.sources))].distinct()
    # Not `Edges.nearest`, which rounds weights as our builders write them; others may not.
    return edges._nearest(edges.weights, count)


def are_nearest(edges: Edges, count: int) -> np.ndarray:
    """Returns which edges lead to one of the nearest clips of either end.

    Args:
        edges: Undirected edges, each once or more often.
        count: Most neighbours of a clip, as for `choose_neighbors`.

    Returns:
        bool, shape `(edges,)`.
    """
    return np.isin(edges.numbers(), choose_neighbors(edges.both_ways(), count).numbers())


def write_graph(path: Path, ids: Sequence[str], parts: Iterable[Edges]) -> None:
    """Writes a graph in the order of its edges; the file appears when it is complete.

    Args:
        path: The TSV file.
        ids: Ids of the clips, in rising order.
        parts: Edges between them, one part after the other.

    Raises:
        OSError: If the file cannot be written, as on a full disk; an earlier file stays.
    """
    begun = path.with_name(f".{path.name}.begun")
    try:
        with begun.open("w", encoding="utf-8", newline="\n") as file:
            for edges in parts:
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


def read_graph(path: Path, *, for_training: bool = False) -> pd.DataFrame:
    """Reads a graph.

    Args:
        path: The TSV file, or a folder of its shards; a missing weight is 1, as in `nsl.tools`.
        for_training: Whether weights must be above 0: in training 0 does nothing, and less pushes
            neighbours apart.

    Returns:
        Columns `source`, `target` (text) and `weight` (float64), in the order of the lines.

    Raises:
        InputError: If a file is missing, compressed, not UTF-8 or not as long as a stage has left
            it, a line has another form, an id is empty, an edge joins a clip with itself, a weight
            is not finite or not above 0 where it must be, or shards are missing. The message names
            the first such line.

    Example:
        >>> graph = read_graph(Path("graph.tsv"))
        >>> graph.columns.tolist()
        ['source', 'target', 'weight']
    """
    least = _LEAST if for_training else -_MOST
    return pd.concat([_read_file(file, least) for file in graph_files(path)], ignore_index=True)


def _read_file(path: Path, least: float) -> pd.DataFrame:
    """Reads a file at once, and line by line only if something in it is unusual."""
    from pyarrow import csv, float64, string

    _check_start(path)
    check_whole(path)
    types = dict(zip(_COLUMNS, (string(), string(), float64()), strict=True))
    try:
        with path.open("rb") as file:
            graph = csv.read_csv(
                file,
                csv.ReadOptions(column_names=_COLUMNS),
                csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
            ).to_pandas()
    except InputError:
        raise
    except ValueError:
        return _read_lines(path, least)
    source, target = graph["source"], graph["target"]
    fits = (source != "") & (target != "") & (source != target)
    fits &= graph["weight"].between(least, _MOST)
    return graph if fits.all() else _read_lines(path, least)


def _check_start(path: Path) -> None:
    """Refuses a file that is missing, or whose first bytes are not those of plain text."""
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError as error:
        raise InputError(
            f"graph: {path} cannot be read ({error.strerror}); check the path or build the graph."
        ) from error
    for magic, found in _NOT_PLAIN.items():
        if start.startswith(magic):
            raise InputError(f"{path}: a graph must be plain text in UTF-8; this file {found}.")


def _read_lines(path: Path, least: float) -> pd.DataFrame:
    """Reads a file line by line, and refuses the first line that breaks a rule."""
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        rows = [
            _read_edge(line, least, f"{path}: line {i}") for i, line in enumerate(file, start=1)
        ]
    graph = pd.DataFrame(rows, columns=_COLUMNS)
    return graph.astype({"source": "str", "target": "str", "weight": np.float64})


def graph_files(path: Path) -> list[Path]:
    """Finds the files of a graph.

    Args:
        path: A TSV file, or a folder of its shards.

    Returns:
        The file, or the shards in order.

    Raises:
        InputError: If the folder holds no shards, or not all of them.
    """
    path = place(path)
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


def _read_edge(line: str, least: float, where: str) -> tuple[str, str, float]:
    fields = line.rstrip("\n").split("\t")
    source, target, weight = fields if len(fields) == 3 else (*fields[:2], "1", "")[:3]
    rules = {
        "must be UTF-8; save the file as UTF-8": _is_utf8(line),
        "must be source<TAB>target<TAB>weight, without a header": 2 <= len(fields) <= 3,
        "must name two clips": bool(source and target),
        "must join two different clips": source != target,
        f"must have a finite weight{'' if least < 0 else ' above 0'}, and be no header": (
            _is_weight(weight, least)
        ),
    }
    for rule, holds in rules.items():
        if not holds:
            raise InputError(f"{where} {rule}; received {line!r}. Build the graph again.")
    return source, target, float(weight)


def _is_utf8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8 stand as surrogates
        return False
    return True


def _is_weight(text: str, least: float) -> bool:
    try:
        return least <= float(text) <= _MOST
    except ValueError:
        return False


def number_edges(graph: pd.DataFrame, ids: Sequence[str]) -> Edges:
    """Returns the edges of a graph with numbers in place of ids.

    Args:
        graph: As `read_graph` returns it.
        ids: Ids of all its clips, in rising order.
    """
    index = pd.Index(ids)
    sources, targets = (
        index.get_indexer(graph[end]).astype(np.int32) for end in ("source", "target")
    )
    return Edges(sources, targets, graph["weight"].to_numpy(np.float64))


def check_edges(graph: pd.DataFrame, known: Iterable[str], *, path: Path, where: str) -> None:
    """Checks that every edge joins two known clips.

    Args:
        graph: As `read_graph` returns it.
        known: Ids of the known clips.
        path: File of the graph, for the error.
        where: Name of the source of the known clips, for the error.

    Raises:
        InputError: If an id is unknown; the message names the first three.
    """
    ids = graph_ids(graph)
    unknown = sorted(set(ids) - set(known))
    rule = f"{path}: {len(ids)} clips, of which some are not in {where}"
    refuse(unknown, rule, "Give the manifest or features and the splits of the graph.")


def graph_ids(graph: pd.DataFrame) -> list[str]:
    """Returns the ids of a graph's clips, in rising order."""
    return sorted({*graph["source"].unique(), *graph["target"].unique()})
