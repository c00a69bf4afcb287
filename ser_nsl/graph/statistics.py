"""What a graph says about emotions and speakers, beside what chance would say."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.graph.table import check_ids, read_graph


@dataclass(frozen=True)
class GraphStatistics:
    """Facts about a graph over labelled clips.

    Attributes:
        clips: Number of nodes, isolated ones included.
        edges: Number of undirected edges.
        degrees: Degree of each clip, descending.
        isolated: Number of clips without an edge.
        within_class: Share of edges whose ends have one emotion.
        within_class_chance: The same for pairs of clips drawn at random.
        within_speaker: Share of edges whose ends have one speaker.
        within_speaker_chance: The same for pairs drawn at random.
        within_class_across_speakers: Share of the edges between speakers whose ends have one
            emotion; NaN without such edges.
        within_class_across_speakers_chance: The same for pairs drawn at random.
    """

    clips: int
    edges: int
    degrees: tuple[int, ...]
    isolated: int
    within_class: float
    within_class_chance: float
    within_speaker: float
    within_speaker_chance: float
    within_class_across_speakers: float
    within_class_across_speakers_chance: float


def graph_statistics(
    graph: Path, clips: pd.DataFrame, max_neighbors: int | None = None
) -> GraphStatistics:
    """Counts edges inside classes and speakers.

    Args:
        graph: TSV file, both directions of an edge.
        clips: The nodes: columns `utterance_id`, `emotion`, `speaker` of a manifest.
        max_neighbors: Look only at the edges that training uses: the so many most similar of
            each clip, ties to the larger id, as `pack_nbrs` chooses them. All edges when None.

    Returns:
        The statistics; with `max_neighbors`, an edge counts once if either end chose it.

    Raises:
        InputError: If the graph is malformed or names other clips.
    """
    edges = read_graph(graph)
    check_ids(edges, clips["utterance_id"], path=graph, where="the manifest's rows given")
    if max_neighbors is not None:
        edges = edges.sort_values(["weight", "target"], ascending=False)
        edges = edges.groupby("source").head(max_neighbors)
    ends = np.sort(edges[["source", "target"]].to_numpy(dtype=str), axis=1)
    pairs = pd.DataFrame(ends, columns=["a", "b"]).drop_duplicates()
    nodes = clips.set_index("utterance_id")
    emotion, speaker = nodes["emotion"], nodes["speaker"]
    same_class = emotion[pairs["a"]].to_numpy() == emotion[pairs["b"]].to_numpy()
    same_speaker = speaker[pairs["a"]].to_numpy() == speaker[pairs["b"]].to_numpy()
    degrees = pd.concat([pairs["a"], pairs["b"]]).value_counts()
    degrees = degrees.reindex(nodes.index, fill_value=0)
    chance_class, chance_speaker, chance_across = _chance(nodes)
    return GraphStatistics(
        clips=len(nodes),
        edges=len(pairs),
        degrees=tuple(sorted(degrees.tolist(), reverse=True)),
        isolated=int((degrees == 0).sum()),
        within_class=_share(same_class),
        within_class_chance=chance_class,
        within_speaker=_share(same_speaker),
        within_speaker_chance=chance_speaker,
        within_class_across_speakers=_share(same_class[~same_speaker]),
        within_class_across_speakers_chance=chance_across,
    )


def _share(holds: np.ndarray) -> float:
    return float(holds.mean()) if len(holds) else float("nan")


def _chance(nodes: pd.DataFrame) -> tuple[float, float, float]:
    """Shares over all pairs of clips: one class, one speaker, one class given two speakers."""

    def pairs(groups: list[str]) -> int:
        sizes = nodes.groupby(groups).size() if groups else pd.Series([len(nodes)])
        return int((sizes * (sizes - 1) // 2).sum())

    every, one_class, one_speaker = pairs([]), pairs(["emotion"]), pairs(["speaker"])
    both = pairs(["emotion", "speaker"])
    across = every - one_speaker
    return (
        one_class / every,
        one_speaker / every,
        (one_class - both) / across if across else float("nan"),
    )
