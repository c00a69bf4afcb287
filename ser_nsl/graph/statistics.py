"""What a graph says about emotions and speakers, beside what chance would say."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.graph.table import check_edges, read_graph

SHARES = (
    "within_class",
    "within_speaker",
    "within_class_across_speakers",
    "within_class_within_speaker",
)
"""Shares of edges that `GraphStatistics` holds, each beside its chance."""


@dataclass(frozen=True)
class ClipGraph:
    """An undirected graph over clips, each clip known by the place of its id in rising order.

    Attributes:
        clips: One row a clip, isolated ones included, columns `utterance_id`, `emotion` and
            `speaker` at least, by rising id, indexed from 0.
        ends: int64, shape `(2, edges)`, each edge once, its lesser end first, in order.
        weights: float64, shape `(edges,)`.
    """

    clips: pd.DataFrame
    ends: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)

    @cached_property
    def emotions(self) -> np.ndarray:
        """For each clip a number, the same where the emotion is; below 0 where unknown."""
        return _number(self.clips["emotion"])

    @cached_property
    def speakers(self) -> np.ndarray:
        """For each clip a number, the same where the speaker is; below 0 where unknown."""
        return _number(self.clips["speaker"])

    @cached_property
    def degrees(self) -> np.ndarray:
        """Number of edges of each clip, int64, shape `(clips,)`."""
        return np.bincount(self.ends.ravel(), minlength=len(self.clips))

    def nearest_edges(self, count: int) -> np.ndarray:
        """Finds the edges that training uses.

        Args:
            count: Most neighbours of a clip: the most similar, of equal ones those with the last
                ids, as `nsl.tools.pack_nbrs` chooses them.

        Returns:
            Places of the edges that either end chose, rising.
        """
        sources, targets = np.concatenate([self.ends, self.ends[::-1]], axis=1)
        order = np.lexsort((-targets, -np.tile(self.weights, 2), sources))
        rank = np.arange(len(order)) - np.searchsorted(sources[order], sources[order])
        return np.unique(np.tile(np.arange(len(self)), 2)[order[rank < count]])

    def take(self, edges: np.ndarray) -> "ClipGraph":
        """The same clips with some of the edges, given by rising places or by a mask."""
        return ClipGraph(self.clips, self.ends[:, edges], self.weights[edges])

    def among(self, chosen: np.ndarray) -> "ClipGraph":
        """Keeps some of the clips, and the edges between them.

        Where many clips have no emotion, the shares of `graph_statistics` say little: edges to
        such clips agree with nothing. Among those with an emotion they say what the labels know.

        Args:
            chosen: Which clips, bool, shape `(clips,)`.

        Returns:
            The graph over these clips only, with which chance is computed too.
        """
        kept = chosen[self.ends].all(axis=0)
        place = np.cumsum(chosen) - 1
        clips = self.clips[chosen].reset_index(drop=True)
        return ClipGraph(clips, place[self.ends[:, kept]], self.weights[kept])


def _number(labels: pd.Series) -> np.ndarray:
    """Numbers clips by their label.

    A clip without a label is like no other, so it gets a number of its own, below 0: equal blanks
    would look alike.
    """
    numbers = pd.factorize(labels)[0].astype(np.int32)
    unknown = np.flatnonzero(labels == "")
    numbers[unknown] = -1 - np.arange(len(unknown))
    return numbers


def read_clip_graph(
    path: Path, clips: pd.DataFrame, *, where: str = "the clips that are given"
) -> ClipGraph:
    """Reads a graph as one over clips.

    Args:
        path: TSV file; of edges written twice, as in both directions, the largest weight holds.
        clips: The nodes: rows of a manifest, of the splits from which the graph was built.
        where: What holds these rows, for the error.

    Returns:
        The graph.

    Raises:
        InputError: If the file is malformed, names other clips, or joins a clip with itself.
    """
    edges = read_graph(path)
    check_edges(edges, clips["utterance_id"], path=path, where=where)
    nodes = clips.sort_values("utterance_id", ignore_index=True)
    place = pd.Index(nodes["utterance_id"])
    ends = np.stack([place.get_indexer(edges[end]) for end in ("source", "target")])
    ends.sort(axis=0)
    weights = edges["weight"].to_numpy(dtype=np.float64)
    order = np.lexsort((-weights, ends[1], ends[0]))
    _, first = np.unique(ends[0, order] * len(nodes) + ends[1, order], return_index=True)
    return ClipGraph(nodes, ends[:, order[first]], weights[order[first]])


@dataclass(frozen=True)
class GraphStatistics:
    """Facts about a graph over labelled clips.

    A clip whose emotion or speaker is unknown has none in common with any other.

    Attributes:
        clips: Number of nodes, isolated ones included.
        edges: Number of undirected edges.
        degrees: Degree of each clip, descending.
        isolated: Number of clips without an edge.
        components: Number of clips in each connected component, descending.
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
        """The shares of edges, each beside its chance.

        Returns:
            One row for each name of `SHARES`, columns `share` and `chance`.
        """
        return pd.DataFrame(
            {
                "share": [getattr(self, name) for name in SHARES],
                "chance": [getattr(self, f"{name}_chance") for name in SHARES],
            },
            index=SHARES,
        )

    def describe_degrees(self) -> dict[str, Any]:
        """Numbers of edges and degrees as plain data, fit for JSON."""
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
    """The shares over all pairs of clips."""

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
    """Counts which emotion's edges go to which.

    Args:
        graph: All edges, or those that training uses.

    Returns:
        Two tables with a row and a column for each emotion, and last for `""` if clips have none:
        the edges from clips of the row's emotion to clips of the column's, of which one inside an
        emotion is seen from both ends; and what shares of a row chance gives, as all pairs do.
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
        max_neighbors: How many neighbours of a clip training uses.

    Returns:
        One row an edge, the most similar first: `weight`, `same_speaker` and `used_in_training`
        (`yes`, `no`, or empty where not known), and of both ends, `a` and `b`, the
        `utterance_id`, `emotion`, `speaker` and `path`. Edges to clips without an emotion are
        neither right nor wrong, and are left out.
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
    """A clip's path below the audio root; of one outside it only the name."""
    return Path(path).name if Path(path).is_absolute() else path


def or_none(value: float) -> float | None:
    """A number as JSON knows it, which has no NaN."""
    return None if np.isnan(value) else float(value)
