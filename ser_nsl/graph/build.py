"""The stage from embeddings to a graph, by the official builder or by faster ones."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ser_nsl.audio.records import shard_paths
from ser_nsl.corpora.labels import check_splits
from ser_nsl.errors import InputError
from ser_nsl.graph.approximate import estimate_recall, find_edges_in_cells
from ser_nsl.graph.exact import check_threshold, find_edges
from ser_nsl.graph.settings import Builder
from ser_nsl.graph.table import Edges, read_graph, write_graph
from ser_nsl.graph.threshold import choose_threshold
from ser_nsl.graph.vectors import read_vectors
from ser_nsl.pipeline.stage import stage

OFFICIAL_CLIPS = 2_000
"""Most clips for which `auto` means the official builder, which then takes seconds."""


@stage(inputs=("embeddings",), makes="file")
def build_graph(
    *,
    embeddings: Path,
    out: Path,
    builder: Builder = "auto",
    similarity_threshold: float | Literal["auto"] = 0.99,
    target_degree: float | None = None,
    max_neighbors: int | None = None,
    lsh_splits: int = 2,
    lsh_rounds: int = 4,
    cells_per_clip: int = 6,
    seed: int = 12345,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
) -> Mapping[str, Any]:
    """Joins clips whose embeddings have a high cosine similarity.

    Args:
        embeddings: Folder with the embedding records.
        out: The graph, a TSV file: source, target, weight; both directions, sorted.
        builder: `official` is `nsl.tools.build_graph`, which compares pairs one by one; `exact`
            finds every pair above the threshold, hundreds of times as fast; `approximate`
            misses some pairs, is faster still from about 100,000 clips, and measures its
            recall; `auto` is `official` up to 2,000 clips, and `exact` above or where the
            threshold is chosen, since hashing misses pairs.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1; `auto` chooses it so
            that a clip has `target_degree` neighbours on average.
        target_degree: Mean number of neighbours for the threshold `auto`.
        max_neighbors: Most edges from a clip: only those that `pack_neighbors` would take from the
            whole graph are written; all by default.
        lsh_splits: For `official`: number n of hyperplanes of the locality-sensitive hashing, which
            makes 2^n buckets; 0 compares all pairs.
        lsh_rounds: For `official`: number of hashings; pairs that share a bucket in any of them are
            compared.
        cells_per_clip: For `approximate`: number of overlapping cells to which a clip belongs; more
            cells find more pairs and take longer.
        seed: Seed of the hyperplanes, of the cells, and of the sample of clips on which a recall
            is measured or a threshold chosen.
        splits: Splits whose clips become nodes; never the test split.

    Returns:
        The builder and the numbers of clips, undirected edges, lines of the file (one for each
        direction of an edge that is kept), and clips without an edge; for `approximate` also the
        recall; for an automatic threshold its value, the number of clips from which it was
        chosen, and a histogram of their degrees.

    Raises:
        InputError: If a setting is out of range, no two clips are similar enough, or embeddings
            are damaged, of several widths or upstreams, not finite or all zero, or ids are
            duplicates or hold a tab or line break.

    Example:
        >>> made = build_graph(
        ...     embeddings=Path("embeddings"), out=Path("graph.tsv"), similarity_threshold=0.0
        ... )
        >>> made.counts["clips"]
        12
    """
    _check_threshold(similarity_threshold, target_degree)
    _check_least(1, max_neighbors=max_neighbors, cells_per_clip=cells_per_clip)
    _check_least(0, lsh_splits=lsh_splits)
    _check_least(1 if lsh_splits else 0, lsh_rounds=lsh_rounds)
    check_splits(splits)
    files = [path for split in splits for path in shard_paths(embeddings, split)]
    vectors = read_vectors(files)
    if builder == "auto":
        small = len(vectors) <= OFFICIAL_CLIPS and similarity_threshold != "auto"
        builder = "official" if small else "exact"
    counts: dict[str, Any] = {"builder": builder, "clips": len(vectors)}
    threshold = similarity_threshold
    if threshold == "auto":
        assert target_degree is not None  # checked above
        choice = choose_threshold(vectors, target_degree, seed=seed)
        threshold = choice.threshold
        counts |= {
            "similarity_threshold": threshold,
            "clips_looked_at": len(choice.degrees),
            "clips_by_degree": choice.clips_by_degree,
        }
    if builder == "official":
        edges = _find_edges_officially(
            files,
            out,
            vectors.ids,
            similarity_threshold=threshold,
            lsh_splits=lsh_splits,
            lsh_rounds=lsh_rounds,
            random_seed=seed,
        )
        if max_neighbors is not None:
            edges = edges.nearest(max_neighbors)
    elif builder == "exact":
        edges = find_edges(vectors, threshold, max_neighbors=max_neighbors)
    else:
        search: dict[str, Any] = {"max_neighbors": max_neighbors, "seed": seed}
        edges = find_edges_in_cells(vectors, threshold, cells_per_clip=cells_per_clip, **search)
        recall, measured_on = estimate_recall(vectors, edges, threshold, **search)
        counts |= {"recall": recall, "recall_measured_on_clips": measured_on}
    if not len(edges):
        raise InputError(
            f"similarity_threshold: no two of the {len(vectors)} clips reach {threshold}, so there "
            "is no edge; lower it, or have it chosen: --similarity-threshold auto "
            "--target-degree 6."
        )
    write_graph(out, vectors.ids, edges.in_order())
    return counts | {
        "edges": edges.pairs(),
        "edge_lines": len(edges),
        "clips_without_edge": len(vectors) - len(np.unique([edges.sources, edges.targets])),
    }


def _check_threshold(
    similarity_threshold: float | Literal["auto"], target_degree: float | None
) -> None:
    if similarity_threshold == "auto" and target_degree is None:
        raise InputError(
            "target_degree: similarity_threshold auto needs a mean number of neighbours; received "
            "none. Give one, e.g. --target-degree 6."
        )
    if similarity_threshold != "auto":
        if target_degree is not None:
            raise InputError(
                "target_degree: belongs to similarity_threshold auto only; received "
                f"{target_degree} with a threshold of {similarity_threshold}. Give one of them."
            )
        check_threshold(similarity_threshold)


def _check_least(least: int, **settings: int | None) -> None:
    for name, value in settings.items():
        if value is not None and value < least:
            raise InputError(f"{name}: must be {least} or more; received {value}.")


def _find_edges_officially(
    files: Sequence[Path], scratch: Path, ids: Sequence[str], **settings: float
) -> Edges:
    """Runs the official builder and reads its file, whose lines have no fixed order."""
    import neural_structured_learning as nsl

    config = nsl.configs.GraphBuilderConfig(**settings)
    logging.getLogger("absl").setLevel(logging.WARNING)
    nsl.tools.build_graph_from_config([str(path) for path in files], str(scratch), config)
    graph = read_graph(scratch)
    index = pd.Series(np.arange(len(ids), dtype=np.int32), index=ids)
    return Edges(
        index[graph["source"]].to_numpy(),
        index[graph["target"]].to_numpy(),
        graph["weight"].to_numpy(dtype=np.float64),
    )
