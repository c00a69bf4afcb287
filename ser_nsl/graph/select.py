"""The stage that filters the edges of a graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError, check_least, refuse
from ser_nsl.graph.table import (
    are_nearest,
    check_edges,
    graph_files,
    graph_ids,
    number_edges,
    read_graph,
)
from ser_nsl.pipeline.stage import stage


@stage(inputs=("graph", "manifest"), makes="file", remote=("graph",))
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
    check_least(0, nearest=nearest)
    speakers = read_manifest(manifest).set_index("utterance_id")["speaker"]
    table = read_graph(graph, for_training=True)
    check_edges(table, speakers.index, path=graph, where=str(manifest))
    if table.empty:
        raise InputError(
            f"{graph}: has no edge; build it again with a lower --similarity-threshold."
        )
    ids = graph_ids(table)
    edges = number_edges(table, ids)
    kept = np.arange(len(edges))
    counts = {"edges": edges.pairs()}
    if across_speakers:
        names = speakers[ids]
        refuse(
            names.index[names == ""],
            f"across_speakers: clips of the graph have no speaker in {manifest}",
            "Add speakers, or leave this filter out.",
        )
        own = names.to_numpy(object)
        kept = kept[own[edges.sources] != own[edges.targets]]
        counts["dropped_within_speaker"] = counts["edges"] - edges[kept].pairs()
        _check_any(kept, counts, graph)
    if nearest:
        before = edges[kept].pairs()
        kept = kept[are_nearest(edges[kept], nearest)]
        counts["dropped_not_nearest"] = before - edges[kept].pairs()
        _check_any(kept, counts, graph)
    chosen = edges[kept]
    order = np.lexsort((chosen.targets, chosen.sources))
    _write_lines(graph, kept[order], out)
    joined = np.union1d(chosen.sources, chosen.targets)
    return counts | {"kept": chosen.pairs(), "clips_without_edge": len(ids) - len(joined)}


def _check_any(kept: np.ndarray, counts: Mapping[str, int], graph: Path) -> None:
    if not len(kept):
        raise InputError(
            f"{graph}: no edge is kept ({counts}); drop a filter, or build the graph with a "
            "lower --similarity-threshold."
        )


def _write_lines(graph: Path, places: np.ndarray, out: Path) -> None:
    """Writes the lines at these places, in this order.

    They stay as they are: weights of other tools may have more digits than ours, and rounding would
    make ties of them.
    """
    wanted = set(places.tolist())
    lines: dict[int, str] = {}
    place = 0
    for path in graph_files(graph):
        with path.open(encoding="utf-8") as file:
            for line in file:
                if place in wanted:
                    lines[place] = line.rstrip("\n")
                place += 1
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{lines[place]}\n" for place in places.tolist())
