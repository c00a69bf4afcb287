"""Statistics of a graph over emotions and speakers, compared with chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.graph.table import Edges, are_nearest, check_edges, number_edges, read_graph

SHARES = (
    "within_class",
    "within_speaker",
    "within_class_across_speakers",
    "within_class_within_speaker",
)
"""Names of the shares of edges in `GraphStatistics`, which also holds their chance levels."""


@dataclass(frozen=True)
class ClipGraph:
    """An undirected graph over clips, which are numbered in the order of their ids.

    Attributes:
        clips: One row per clip, isolated ones included, with at least the columns
            `utterance_id`, `emotion` and `speaker`, sorted by id, indexed from 0.
        ends: int64, shape `(2, edges)`, every edge once, its lesser end first, sorted.
        weights: float64, shape `(edges,)`.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> len(graph.take(graph.weights > 0.9)) < len(graph)
        True
    """

    clips: pd.DataFrame
    ends: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    @cached_property
    def emotions(self) -> np.ndarray:
        """Number of each clip's emotion; a unique number below 0 where unknown."""
        return number_labels(self.clips["emotion"])

    @cached_property
    def speakers(self) -> np.ndarray:
        """Number of each clip's speaker; a unique number below 0 where unknown."""
        return number_labels(self.clips["speaker"])

    @cached_property
    def degrees(self) -> np.ndarray:
        """Number of edges of each clip, int64, shape `(clips,)`."""
        return np.bincount(self.ends.ravel(), minlength=len(self.clips))

    def nearest_edges(self, count: int) -> np.ndarray:
        """Finds the edges that training uses.

        Args:
            count: Most neighbours of a clip: the most similar, and of equally similar ones those
                with the last ids, as `nsl.tools.pack_nbrs` chooses them.

        Returns:
            Sorted indices of the edges that lead to a chosen neighbour of either end.
        """
        sources, targets = self.ends.astype(np.int32)
        return np.flatnonzero(are_nearest(Edges(sources, targets, self.weights), count))

    def take(self, edges: np.ndarray) -> "ClipGraph":
        """Returns the same clips with chosen edges, given by sorted indices or a mask."""
        return ClipGraph(self.clips, self.ends[:, edges], self.weights[edges])

    def among(self, chosen: np.ndarray) -> "ClipGraph":
        """Returns the graph over chosen clips.

        Edges to clips without an emotion count as disagreement in `graph_statistics`; if there are
        many such clips, choose those with an emotion first.

        Args:
            chosen: Which clips stay, bool, shape `(clips,)`.

        Returns:
            The chosen clips and the edges between them; chance refers to these clips too.
        """
        kept = chosen[self.ends].all(axis=0)
        number = np.cumsum(chosen) - 1
        clips = self.clips[chosen].reset_index(drop=True)
        return ClipGraph(clips, number[self.ends[:, kept]], self.weights[kept])


def number_labels(labels: pd.Series) -> np.ndarray:
    """Numbers clips by their label.

    Args:
        labels: Labels, empty where unknown.

    Returns:
        int32, shape `(clips,)`. Every clip without a label gets a number of its own, below 0, so
            that it agrees with no other.
    """
    numbers = pd.factorize(labels)[0].astype(np.int32)
    unknown = np.flatnonzero(labels == "")
    numbers[unknown] = -1 - np.arange(len(unknown))
    return numbers


def group_sizes(*labels: np.ndarray) -> np.ndarray:
    """Returns for each clip the number of clips with the same labels, itself included.

    Args:
        *labels: Labels of the clips, shape `(clips,)` each.

    Returns:
        int64, shape `(clips,)`.
    """
    _, group, sizes = np.unique(
        np.stack(labels, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return sizes[group.ravel()]


def read_clip_graph(
    path: Path, clips: pd.DataFrame, *, where: str = "the clips that are given"
) -> ClipGraph:
    """Reads a graph over the clips of a manifest.

    Args:
        path: TSV file, or a folder of its shards; of an edge that is written several times, as in
            both directions, the largest weight counts.
        clips: Rows of the manifest that are the nodes, of the splits from which the graph was
            built.
        where: Name of the source of these rows, for the error.

    Returns:
        The graph.

    Raises:
        InputError: If the file is malformed, names other clips, or joins a clip with itself.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> graph.degrees.sum() == 2 * len(graph)
        True
    """
    edges = read_graph(path)
    check_edges(edges, clips["utterance_id"], path=path, where=where)
    nodes = clips.sort_values("utterance_id", ignore_index=True)
    numbered = number_edges(edges, nodes["utterance_id"])
    ends = np.stack([numbered.sources, numbered.targets]).astype(np.int64)
    ends.sort(axis=0)
    weights = numbered.weights
    order = np.lexsort((-weights, ends[1], ends[0]))
    _, first = np.unique(ends[0, order] * len(nodes) + ends[1, order], return_index=True)
    return ClipGraph(nodes, ends[:, order[first]], weights[order[first]])


@dataclass(frozen=True)
class GraphStatistics:
    """Statistics of a graph over labelled clips.

    A clip whose emotion or speaker is unknown shares it with no other clip.

    Attributes:
        clips: Number of nodes, isolated ones included.
        edges: Number of undirected edges.
        degrees: Degrees of the clips, descending.
        isolated: Number of clips without an edge.
        components: Sizes of the connected components, in clips, descending.
        within_class: Share of edges whose ends have one emotion.
        within_class_chance: The same for pairs of clips drawn at random.
        within_speaker: Share of edges whose ends have one speaker.
        within_speaker_chance: The same for pairs drawn at random.
        within_class_across_speakers: Share of the edges between speakers whose ends have one
            emotion; NaN without such edges.
        within_class_across_speakers_chance: The same for pairs drawn at random.
        within_class_within_speaker: Share of the edges within a speaker whose ends have one
            emotion; NaN without such edges.
        within_class_within_speaker_chance: The same for pairs drawn at random.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> graph_statistics(graph).shares().columns.tolist()
        ['share', 'chance']
    """

    clips: int
    edges: int
    degrees: tuple[int, ...]
    isolated: int
    components: tuple[int, ...]
    within_class: float
    within_class_chance: float
    within_speaker: float
    within_speaker_chance: float
    within_class_across_speakers: float
    within_class_across_speakers_chance: float
    within_class_within_speaker: float
    within_class_within_speaker_chance: float

    def shares(self) -> pd.DataFrame:
        """Returns the shares of edges and their chance levels.

        Returns:
            One row per name of `SHARES`, columns `share` and `chance`.
        """
        return pd.DataFrame(
            {
                "share": [getattr(self, name) for name in SHARES],
                "chance": [getattr(self, f"{name}_chance") for name in SHARES],
            },
            index=SHARES,
        )

    def describe_degrees(self) -> dict[str, Any]:
        """Returns numbers of edges and degrees as plain data for JSON."""
        degrees, clips = np.unique(self.degrees, return_counts=True)
        return {
            "edges": self.edges,
            "isolated": self.isolated,
            "mean_degree": float(np.mean(self.degrees)),
            "largest_degree": max(self.degrees),
            "clips_by_degree": dict(zip(degrees.tolist(), clips.tolist(), strict=True)),
        }


def graph_statistics(graph: ClipGraph) -> GraphStatistics:
    """Counts edges inside classes and speakers.

    Args:
        graph: All edges, or those that training uses.

    Returns:
        The statistics.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> 0 <= graph_statistics(graph).within_class <= 1
        True
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = graph.ends
    same_class = graph.emotions[a] == graph.emotions[b]
    same_speaker = graph.speakers[a] == graph.speakers[b]
    degrees = np.sort(graph.degrees)[::-1]
    adjacency = coo_array((np.ones(len(graph), bool), (a, b)), shape=(len(graph.clips),) * 2)
    component = connected_components(adjacency, directed=False)[1]
    shares = {
        "within_class": _share(same_class),
        "within_speaker": _share(same_speaker),
        "within_class_across_speakers": _share(same_class[~same_speaker]),
        "within_class_within_speaker": _share(same_class[same_speaker]),
    }
    return GraphStatistics(
        clips=len(graph.clips),
        edges=len(graph),
        degrees=tuple(degrees.tolist()),
        isolated=int((degrees == 0).sum()),
        components=tuple(np.sort(np.bincount(component))[::-1].tolist()),
        **shares,
        **{f"{name}_chance": share for name, share in _chance(graph).items()},
    )


def _share(holds: np.ndarray) -> float:
    return float(holds.mean()) if len(holds) else float("nan")


def _chance(graph: ClipGraph) -> Mapping[str, float]:
    """Returns the shares over all pairs of clips."""

    def pairs(*labels: np.ndarray) -> int:
        sizes = np.unique(np.stack(labels), axis=1, return_counts=True)[1]
        return int((sizes * (sizes - 1) // 2).sum())

    every = pairs(np.zeros(len(graph.clips)))
    one_class, one_speaker = pairs(graph.emotions), pairs(graph.speakers)
    both = pairs(graph.emotions, graph.speakers)
    return {
        "within_class": _quotient(one_class, every),
        "within_speaker": _quotient(one_speaker, every),
        "within_class_across_speakers": _quotient(one_class - both, every - one_speaker),
        "within_class_within_speaker": _quotient(both, one_speaker),
    }


def _quotient(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def edges_by_emotion(graph: ClipGraph) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts edges by the emotions of their ends.

    Args:
        graph: All edges, or those that training uses.

    Returns:
        Two tables with a row and a column per emotion, and last for `""` if clips have none:
        numbers of edges from clips of the row's emotion to clips of the column's, where an edge
        inside an emotion counts twice; and the shares of each row by chance, over all pairs.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> int(edges_by_emotion(graph)[0].to_numpy().sum()) == 2 * len(graph)
        True
    """
    emotions = graph.clips["emotion"]
    names = sorted(set(emotions), key=lambda name: (name == "", name))
    number = pd.Index(names).get_indexer(emotions)
    sources, targets = number[np.concatenate([graph.ends, graph.ends[::-1]], axis=1)]
    cells = np.bincount(sources * len(names) + targets, minlength=len(names) ** 2)
    others = np.bincount(number) - np.eye(len(names))
    chance = others / max(len(emotions) - 1, 1)
    return (
        pd.DataFrame(cells.reshape(len(names), len(names)), names, names),
        pd.DataFrame(chance, names, names),
    )


def wrong_edges(graph: ClipGraph, *, max_neighbors: int = 3) -> pd.DataFrame:
    """Finds the edges that join two emotions.

    Args:
        graph: All edges.
        max_neighbors: Number of neighbours of a clip that training uses.

    Returns:
        One row per edge, the most similar first: `weight`, `same_speaker` and `used_in_training`
        (`yes`, `no`, or empty where not known), and `utterance_id`, `emotion`, `speaker` and
        `path` of both ends, as `utterance_id_a`, `utterance_id_b` and so on. Edges to clips
        without an emotion are left out.

    Example:
        >>> import pandas as pd
        >>> graph = read_clip_graph(Path("graph.tsv"), pd.read_csv("manifest.csv"))
        >>> wrong = wrong_edges(graph)
        >>> bool((wrong["emotion_a"] != wrong["emotion_b"]).all())
        True
    """
    emotions = graph.emotions[graph.ends]
    wrong = np.flatnonzero((emotions >= 0).all(axis=0) & (emotions[0] != emotions[1]))
    wrong = wrong[np.argsort(-graph.weights[wrong], kind="stable")]
    table = pd.DataFrame({"weight": graph.weights[wrong]})
    speakers = graph.clips["speaker"].to_numpy()[graph.ends[:, wrong]]
    table["same_speaker"] = np.where(speakers[0] == speakers[1], "yes", "no")
    table.loc[(speakers == "").any(axis=0), "same_speaker"] = ""
    used = np.isin(wrong, graph.nearest_edges(max_neighbors))
    table["used_in_training"] = np.where(used, "yes", "no")
    for column in ("utterance_id", "emotion", "speaker", "path"):
        values = graph.clips[column].map(_portable) if column == "path" else graph.clips[column]
        for end, side in zip(graph.ends[:, wrong], "ab", strict=True):
            table[f"{column}_{side}"] = values.to_numpy()[end]
    return table


def _portable(path: str) -> str:
    """Returns a clip's path below the audio root, or its name only if it lies elsewhere."""
    return Path(path).name if Path(path).is_absolute() else path


def or_none(value: float) -> float | None:
    """Returns a number, or None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)
