"""The stage that keeps of a graph the edges that are likelier to be right."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.graph.indexed import choose_neighbors
from ser_nsl.graph.table import check_edges, graph_files, read_graph
from ser_nsl.pipeline.stage import stage


@stage(inputs=("graph", "manifest"), makes="file")
def select_edges(
    *,
    graph: Path,
    manifest: Path,
    out: Path,
    across_speakers: bool = False,
    mutual: int = 0,
    nearest: int = 0,
) -> Mapping[str, Any]:
    """Keeps edges between speakers, between mutual neighbours, or to the nearest clips only.

    The filters apply in this order, each to what the one before has left; no emotion is looked
    at. An edge counts in both directions, with the larger weight where they differ, and of
    equally near clips those with the last ids are nearer, as in `pack_neighbors`. So the given
    graph should not be limited to few neighbours already: a filter cannot find the next ones.

    Args:
        graph: What tools/build_graph.py or `nsl.tools.build_graph` has made, or a folder of
            shards, as tools/beam_graph.py makes it.
        manifest: Who speaks.
        out: The graph, a TSV file: the lines that are kept, by source and target.
        across_speakers: Whether to drop the edges between clips of one speaker.
        mutual: Keep edges whose clips are each among so many nearest of the other; 0 for all.
        nearest: Keep edges from or to one of a clip's so many nearest, those that training with
            as many neighbours can use; 0 for all.

    Returns:
        Numbers of undirected edges, of those kept and dropped by each filter, and of the graph's
        clips left without an edge.

    Raises:
        InputError: If a setting is below 0, the graph is malformed, has no edge, joins a clip
            with itself or names clips that are not in the manifest, a speaker is needed and not
            known, or no edge is kept.
    """
    for name, value in {"mutual": mutual, "nearest": nearest}.items():
        if value < 0:
            raise InputError(f"{name}: must be 0 or more; received {value}.")
    speakers = read_manifest(manifest).set_index("utterance_id")["speaker"]
    edges = _read_edges(graph, speakers, manifest)
    ids = sorted({*edges["source"], *edges["target"]})
    filters: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {}
    if across_speakers:
        _check_speakers(speakers[ids], manifest)
        filters["dropped_within_speaker"] = lambda edges: (
            speakers[edges["source"]].to_numpy() != speakers[edges["target"]].to_numpy()
        )
    if mutual:
        filters["dropped_not_mutual"] = lambda edges: _chosen(edges, ids, mutual, ends=2)
    if nearest:
        filters["dropped_not_nearest"] = lambda edges: _chosen(edges, ids, nearest, ends=1)
    edges["pair"] = _number_pairs(edges, ids)
    counts, kept = {"edges": edges["pair"].nunique()}, edges
    for reason, holds in filters.items():
        before = kept["pair"].nunique()
        kept = kept[holds(kept)]
        counts[reason] = before - kept["pair"].nunique()
        if kept.empty:
            raise InputError(
                f"{graph}: no edge is kept ({counts}); ask for less, or build the graph with a "
                "lower --similarity-threshold."
            )
    kept = kept.sort_values(["source", "target"], kind="stable")
    out.write_text("".join(f"{line}\n" for line in kept["line"]))
    joined = {*kept["source"], *kept["target"]}
    return counts | {"kept": kept["pair"].nunique(), "clips_without_edge": len(ids) - len(joined)}


def _read_edges(graph: Path, known: pd.Series, manifest: Path) -> pd.DataFrame:
    """The graph's edges, and in a column `line` how each is written."""
    edges = read_graph(graph)
    check_edges(edges, known.index, path=graph, where=str(manifest))
    if edges.empty:
        raise InputError(
            f"{graph}: has no edge; build it again with a lower --similarity-threshold."
        )
    # Lines stay as they are: weights of other tools may have more digits than ours, and rounding
    # would make ties of them.
    lines: list[str] = []
    for path in graph_files(graph):
        with path.open() as file:
            lines += [line.rstrip("\n") for line in file]
    return edges.assign(line=lines)


def _check_speakers(speakers: pd.Series, manifest: Path) -> None:
    silent = speakers.index[speakers == ""]
    if len(silent):
        raise InputError(
            f"across_speakers: {len(silent)} of the graph's clips have no speaker in {manifest} "
            f"(first: {', '.join(silent[:3])}); add speakers, or leave this filter out."
        )


def _number_pairs(edges: pd.DataFrame, ids: list[str]) -> np.ndarray:
    """For each edge a number, the same in both directions."""
    place = pd.Index(ids)
    ends = np.stack([place.get_indexer(edges[end]) for end in ("source", "target")])
    return ends.min(axis=0) * len(ids) + ends.max(axis=0)


def _chosen(edges: pd.DataFrame, ids: list[str], count: int, *, ends: int) -> np.ndarray:
    """Which edges at least so many of their ends choose among their nearest."""
    nearest = choose_neighbors(edges, ids, count)
    pairs = np.minimum(nearest.sources, nearest.targets).astype(np.int64) * len(ids)
    pairs += np.maximum(nearest.sources, nearest.targets)
    found, chosen_by = np.unique(pairs, return_counts=True)
    return np.isin(edges["pair"], found[chosen_by >= ends])
