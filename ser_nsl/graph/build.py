"""The stage from embeddings to a graph, by the official builder or by faster ones."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.shards import shard_paths
from ser_nsl.corpora.labels import check_splits
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError, check_least, refuse
from ser_nsl.graph.approximate import estimate_recall, find_edges_in_cells
from ser_nsl.graph.exact import check_threshold, find_edges, stream_edges
from ser_nsl.graph.settings import Builder
from ser_nsl.graph.statistics import number_labels
from ser_nsl.graph.table import Edges, number_edges, read_graph, write_graph
from ser_nsl.graph.threshold import choose_threshold
from ser_nsl.graph.vectors import Vectors, read_vectors
from ser_nsl.pipeline.stage import stage

OFFICIAL_CLIPS = 2_000
"""Most clips for which `auto` means the official builder, which then takes seconds."""

_LEAST_WEIGHT = float(np.nextafter(5e-7, 1))  # what is less becomes 0 in the file's six decimals


@stage(inputs=("embeddings", "manifest"), makes="file", remote=("embeddings",))
def build_graph(
    *,
    embeddings: Path,
    out: Path,
    builder: Builder = "auto",
    similarity_threshold: float | Literal["auto"] = 0.99,
    target_degree: float | None = None,
    max_neighbors: int | None = None,
    across_speakers: bool = False,
    within_emotions: bool = False,
    manifest: Path | None = None,
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
            recall; `auto` is `exact`, except for all edges above a given threshold of at
            most 2,000 clips, for which it is `official`.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1; `auto` chooses it so
            that a clip has `target_degree` neighbours on average, but at least 0. Weights that
            the file would round to 0 are left out, unless the threshold is below 0; training
            refuses weights that are not above 0.
        target_degree: Mean number of neighbours for the threshold `auto`.
        max_neighbors: Most edges from a clip: only those that `pack_neighbors` would take from the
            whole graph are written; all by default, whose number grows with the square of the
            clips where the threshold is low.
        across_speakers: Never join clips of one speaker; the other settings count the remaining
            pairs only.
        within_emotions: Only join clips of one emotion, and none without: an upper bound to compare
            with, and no fair method, since it knows the labels of all clips. The other settings
            count the remaining pairs only.
        manifest: Manifest with the clips' speakers and emotions, for these two.
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
            duplicates or hold a tab or line break; or a clip's speaker is needed and not known.

    Example:
        >>> made = build_graph(
        ...     embeddings=Path("embeddings"), out=Path("graph.tsv"), similarity_threshold=0.0
        ... )
        >>> made.counts["clips"]
        12
    """
    _check_threshold(similarity_threshold, target_degree)
    check_least(1, max_neighbors=max_neighbors, cells_per_clip=cells_per_clip)
    check_least(0, lsh_splits=lsh_splits)
    check_least(1 if lsh_splits else 0, lsh_rounds=lsh_rounds)
    check_splits(splits)
    _check_manifest(manifest, across_speakers, within_emotions)
    files = [path for split in splits for path in shard_paths(embeddings, split)]
    vectors = read_vectors(files)
    if across_speakers and manifest is not None:
        speakers = column_of_clips("speaker", manifest, vectors.ids, embeddings)
        rule = f"across_speakers: clips have no speaker in {manifest}"
        refuse(speakers.index[speakers == ""], rule, "Add speakers, or leave this setting out.")
        vectors = replace(vectors, speakers=number_labels(speakers))
    if within_emotions and manifest is not None:
        emotions = column_of_clips("emotion", manifest, vectors.ids, embeddings)
        vectors = replace(vectors, emotions=number_labels(emotions))
    if len(vectors) < 2:
        raise InputError(f"embeddings: {embeddings} holds 1 clip; an edge needs two. Embed more.")
    if builder == "auto":
        chooses = similarity_threshold == "auto" or max_neighbors or not vectors.joins_any
        builder = "exact" if chooses or len(vectors) > OFFICIAL_CLIPS else "official"
    counts: dict[str, Any] = {"builder": builder, "clips": len(vectors)}
    if similarity_threshold == "auto":
        assert target_degree is not None  # checked above
        choice = choose_threshold(vectors, target_degree, seed=seed)
        threshold = max(choice.threshold, 0.0)
        counts |= {
            "similarity_threshold": threshold,
            "clips_looked_at": len(choice.degrees),
            "clips_by_degree": choice.clips_by_degree,
        }
    else:
        threshold = similarity_threshold
    least = max(threshold, _LEAST_WEIGHT) if threshold >= 0 else threshold
    parts: Iterable[Edges]
    if builder == "official":
        edges = _find_edges_officially(
            files,
            out,
            vectors,
            similarity_threshold=least,
            lsh_splits=lsh_splits,
            lsh_rounds=lsh_rounds,
            random_seed=seed,
        )
        parts = [(edges if max_neighbors is None else edges.nearest(max_neighbors)).in_order()]
    elif builder == "approximate":
        search: dict[str, Any] = {"max_neighbors": max_neighbors, "seed": seed}
        edges = find_edges_in_cells(vectors, least, cells_per_clip=cells_per_clip, **search)
        recall, measured_on = estimate_recall(vectors, edges, least, **search)
        counts |= {"recall": recall, "recall_measured_on_clips": measured_on}
        parts = [edges]
    elif max_neighbors is None:
        parts = stream_edges(vectors, least, out.parent)
    else:
        parts = [find_edges(vectors, least, max_neighbors=max_neighbors)]
    written = _Written(len(vectors))
    write_graph(out, vectors.ids, written.count(parts))
    if not written.lines:
        is_sure = builder == "exact" or (builder == "official" and lsh_splits == 0)
        hint = "" if is_sure else f" The builder {builder} may have missed some: --builder exact."
        raise InputError(
            f"similarity_threshold: no two of the {len(vectors)} clips"
            f"{' with different speakers' if across_speakers else ''}"
            f"{' and one emotion' if within_emotions else ''} reach {threshold}, so there "
            "is no edge; lower it, or have it chosen: --similarity-threshold auto "
            f"--target-degree 6.{hint}"
        )
    return counts | {
        "edges": written.lines // 2 if max_neighbors is None else Edges.join(parts).pairs(),
        "edge_lines": written.lines,
        "clips_without_edge": int((~written.joined).sum()),
    }


class _Written:
    """Counts of lines and of clips with an edge, taken while they are written."""

    def __init__(self, clips: int) -> None:
        self.joined = np.zeros(clips, bool)
        self.lines = 0

    def count(self, parts: Iterable[Edges]) -> Iterator[Edges]:
        """Passes edges on."""
        for part in parts:
            self.joined[part.sources] = self.joined[part.targets] = True
            self.lines += len(part)
            yield part


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


def _check_manifest(manifest: Path | None, across_speakers: bool, within_emotions: bool) -> None:
    reads = across_speakers or within_emotions
    if reads and manifest is None:
        raise InputError(
            "manifest: across_speakers and within_emotions need to know the clips; received none. "
            "Give the manifest of the embeddings: --manifest manifest.csv."
        )
    if manifest is not None and not reads:
        raise InputError(
            "manifest: is read for across_speakers and within_emotions only; received "
            f"{manifest}. Give one of them too, or none."
        )


def _find_edges_officially(
    files: Sequence[Path], scratch: Path, vectors: Vectors, **settings: float
) -> Edges:
    """Runs the official builder and reads its file, whose lines have no fixed order."""
    import neural_structured_learning as nsl

    config = nsl.configs.GraphBuilderConfig(**settings)
    logging.getLogger("absl").setLevel(logging.WARNING)
    nsl.tools.build_graph_from_config([str(path) for path in files], str(scratch), config)
    edges = number_edges(read_graph(scratch), vectors.ids)
    return edges[~vectors.barred(edges.sources, edges.targets)]  # it knows nothing of those
