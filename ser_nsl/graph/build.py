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
"""Up to so many clips, `auto` means the official builder; it then takes seconds."""


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
        embeddings: Records of embeddings.
        out: The graph, a TSV file: source, target, weight, both directions, in order.
        builder: `official` is `nsl.tools.build_graph`, which compares pairs one by one; `exact`
            finds every pair above the threshold, hundreds of times as fast; `approximate`
            misses some, is faster still from about 100,000 clips, and measures what share it
            finds; `auto` is `official` up to 2,000 clips, and `exact` above or where the
            threshold is chosen, since hashing misses pairs.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1; `auto` chooses it so
            that a clip has `target_degree` neighbours on average.
        target_degree: Mean number of neighbours that `auto` aims at.
        max_neighbors: Most edges from a clip: write those only that `pack_neighbors` would take
            from the whole graph; all by default.
        lsh_splits: For `official`: hyperplanes of the locality-sensitive hashing, so 2 to this
            power buckets; 0 compares all pairs.
        lsh_rounds: For `official`: hashings; pairs that share a bucket in any are compared.
        cells_per_clip: For `approximate`: in how many overlapping cells a clip is compared; more
            find more and take longer.
        seed: Of the hyperplanes, of the cells, and of the clips on which a recall is measured or
            a threshold chosen.
        splits: Which clips become nodes; never the test split.

    Returns:
        The builder, numbers of clips, undirected edges, lines of the file (an edge has one for
        each direction that is kept), and clips without an edge; the recall of `approximate`; of
        an automatic threshold its value, from how many clips it was chosen, and how many of these
        have how many neighbours with it.

    Raises:
        InputError: If a setting is out of range, no two clips are similar enough, or embeddings
            are damaged, of several widths or upstreams, not finite or all zero, or their ids are
            duplicates or unfit for a TSV file.

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
        assert target_degree is not None  # as was checked
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
            "is no edge; lower it, or let it be chosen: --similarity-threshold auto "
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
            "target_degree: similarity_threshold auto needs it, the mean number of neighbours to "
            "aim at; give one, e.g. --target-degree 6."
        )
    if similarity_threshold != "auto":
        if target_degree is not None:
            raise InputError(
                "target_degree: chooses the threshold where similarity_threshold is auto; received "
                f"{target_degree} beside a threshold of {similarity_threshold}. Give one of them."
            )
        check_threshold(similarity_threshold)


def _check_least(least: int, **settings: int | None) -> None:
    for name, value in settings.items():
        if value is not None and value < least:
            raise InputError(f"{name}: must be {least} or more; received {value}.")


def _find_edges_officially(
    files: Sequence[Path], scratch: Path, ids: Sequence[str], **settings: float
) -> Edges:
    """Lets the official builder write a file, and reads it: its lines have no fixed order."""
    import neural_structured_learning as nsl

    config = nsl.configs.GraphBuilderConfig(**settings)
    logging.getLogger("absl").setLevel(logging.WARNING)
    nsl.tools.build_graph_from_config([str(path) for path in files], str(scratch), config)
    graph = read_graph(scratch)
    place = pd.Series(np.arange(len(ids), dtype=np.int32), index=ids)
    return Edges(
        place[graph["source"]].to_numpy(),
        place[graph["target"]].to_numpy(),
        graph["weight"].to_numpy(dtype=np.float64),
    )
