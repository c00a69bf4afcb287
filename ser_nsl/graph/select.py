"""The stage that filters the edges of a graph."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError, refuse
from ser_nsl.graph.indexed import choose_neighbors
from ser_nsl.graph.table import check_edges, graph_files, read_graph
from ser_nsl.pipeline.stage import stage


@stage(inputs=("graph", "manifest"), makes="file")
def select_edges(
    *, graph: Path, manifest: Path, out: Path, across_speakers: bool = False, nearest: int = 0
) -> Mapping[str, Any]:
    """Keeps only the edges between speakers, or only those to the nearest clips.

    With both filters, the second gets the edges that the first has kept. Emotions are not used. An
    edge counts in both directions, with the larger weight where they differ; among equally similar
    clips those with the last ids are nearer, as in `pack_neighbors`. Give a graph that is not
    limited to few neighbours already, since a filter cannot find the next ones.

    Args:
        graph: The graph of `build_graph` or `nsl.tools.build_graph`, or the folder of shards of
            `ser-nsl beam-graph`.
        manifest: The clips and their speakers.
        out: The graph, a TSV file: the lines that are kept, sorted by source and target.
        across_speakers: Drop the edges between clips of one speaker.
        nearest: Number of nearest neighbours of each clip to which edges are kept, usually the
            number that training uses; 0 for all.

    Returns:
        Numbers of undirected edges, of those kept and dropped by each filter, and of the graph's
        clips left without an edge.

    Raises:
        InputError: If a setting is below 0, the graph is malformed, has no edge, joins a clip
            with itself or names clips that are not in the manifest, a speaker is needed and not
            known, or no edge is kept.

    Example:
        >>> graph, manifest = Path("graph.tsv"), Path("manifest.csv")
        >>> made = select_edges(graph=graph, manifest=manifest, out=Path("two.tsv"), nearest=2)
        >>> made.counts["kept"] < made.counts["edges"]
        True
    """
    if nearest < 0:
        raise InputError(f"nearest: must be 0 or more; received {nearest}.")
    speakers = read_manifest(manifest).set_index("utterance_id")["speaker"]
    edges = _read_edges(graph, speakers, manifest)
    ids = sorted({*edges["source"], *edges["target"]})
    filters: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {}
    if across_speakers:
        _check_speakers(speakers[ids], manifest)
        filters["dropped_within_speaker"] = lambda edges: (
            speakers[edges["source"]].to_numpy() != speakers[edges["target"]].to_numpy()
        )
    if nearest:
        filters["dropped_not_nearest"] = lambda edges: _are_nearest(edges, ids, nearest)
    edges["pair"] = _number_pairs(edges, ids)
    counts, kept = {"edges": edges["pair"].nunique()}, edges
    for reason, holds in filters.items():
        before = kept["pair"].nunique()
        kept = kept[holds(kept)]
        counts[reason] = before - kept["pair"].nunique()
        if kept.empty:
            raise InputError(
                f"{graph}: no edge is kept ({counts}); drop a filter, or build the graph with a "
                "lower --similarity-threshold."
            )
    kept = kept.sort_values(["source", "target"], kind="stable")
    out.write_text("".join(f"{line}\n" for line in kept["line"]))
    joined = {*kept["source"], *kept["target"]}
    return counts | {"kept": kept["pair"].nunique(), "clips_without_edge": len(ids) - len(joined)}


def _read_edges(graph: Path, known: pd.Series, manifest: Path) -> pd.DataFrame:
    """Returns the graph's edges, and in a column `line` their lines in the file."""
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
    unknown = speakers.index[speakers == ""]
    rule = f"across_speakers: clips of the graph have no speaker in {manifest}"
    refuse(unknown, rule, "Add speakers, or leave this filter out.")


def _number_pairs(edges: pd.DataFrame, ids: list[str]) -> np.ndarray:
    """Numbers edges, the same in both directions."""
    index = pd.Index(ids)
    ends = np.stack([index.get_indexer(edges[end]) for end in ("source", "target")])
    return ends.min(axis=0) * len(ids) + ends.max(axis=0)


def _are_nearest(edges: pd.DataFrame, ids: list[str], count: int) -> np.ndarray:
    """Returns which edges lead to one of the nearest clips of either end."""
    nearest = choose_neighbors(edges, ids, count)
    pairs = np.minimum(nearest.sources, nearest.targets).astype(np.int64) * len(ids)
    pairs += np.maximum(nearest.sources, nearest.targets)
    return np.isin(edges["pair"], pairs)
