"""The stage that inspects a graph: statistics, edges between emotions, and a map of the clips."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import ser_nsl
from ser_nsl.audio.shards import has_split, shard_paths
from ser_nsl.corpora.manifest import SPLITS, corpus_title, read_manifest
from ser_nsl.edge.rows import harmless
from ser_nsl.errors import InputError, check_least, refuse
from ser_nsl.graph.embedding_map import draw_sample, lay_out
from ser_nsl.graph.shuffles import shuffle_labels
from ser_nsl.graph.statistics import (
    SHARES,
    ClipGraph,
    edges_by_emotion,
    graph_statistics,
    or_none,
    read_clip_graph,
    wrong_edges,
)
from ser_nsl.graph.vectors import Vectors, read_vectors
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import stage
from ser_nsl.reports.page import page_templates, percent

_WRONG_WRITTEN, _WRONG_SHOWN = 1_000, 30
_COMPONENTS_SHOWN = 10
_WEIGHTS_COMPARED = 10_000
_SAME_WEIGHT = 1e-4  # tolerance: weights have six decimals, other tools may use float32


@stage(inputs=("graph", "manifest", "embeddings"), makes="folder", remote=("graph", "embeddings"))
def inspect_graph(
    *,
    graph: Path,
    manifest: Path,
    embeddings: Path,
    out: Path,
    max_neighbors: int = 3,
    splits: tuple[Literal["train", "val", "test"], ...] | None = None,
    shuffles: int = 1_000,
    map_clips: int = 5_000,
    seed: int = 12345,
) -> Mapping[str, Any]:
    """Reports a graph's statistics, its edges between emotions, and a map of the embeddings.

    Same inputs give the same bytes on the same machine. The pages hold no path of the machine.

    Args:
        graph: The graph of `ser-nsl build-graph` or `nsl.tools.build_graph`, or the folder
            OUT/graph of `ser-nsl beam-graph`.
        manifest: Manifest with the clips' emotions, speakers and splits.
        embeddings: Folder with the embeddings from which the graph was built; the map shows all
            its splits.
        out: Folder for `inspection.html` (one file, figures inside), `inspection.json` (its
            numbers) and `wrong_edges.csv` (up to 1,000 edges between two emotions, the most
            similar first).
        max_neighbors: Number of neighbours of a clip that training uses, at least 1.
        splits: Splits whose clips are nodes; by default those in the record beside the graph,
            and `train` without a record.
        shuffles: Number of shuffles of the labels, at least 1.
        map_clips: Most clips on the map, at least 1; of more clips a sample is drawn.
        seed: Seed of the shuffles, the sample and the map.

    Returns:
        Numbers of clips, edges, edges between emotions, and clips on the map.

    Raises:
        InputError: If a setting is out of range, the graph is malformed or names clips that are
            not in these splits of the manifest, or embeddings are damaged, missing for a node, or
            of clips that are not in the manifest.
    """
    from ser_nsl.reports.inspection_figures import SETS, draw_inspection

    check_least(1, max_neighbors=max_neighbors, shuffles=shuffles, map_clips=map_clips)
    of_graph = _find_splits(graph, splits)
    clips = read_manifest(manifest)
    nodes = clips[clips["split"].isin(of_graph)]
    if nodes.empty:
        raise InputError(
            f"{manifest}: has no clip in {' and '.join(of_graph)}; choose other splits."
        )
    whole = read_clip_graph(graph, nodes, where=f"{manifest} ({', '.join(of_graph)})")
    vectors = _read_embeddings(embeddings, clips, nodes, manifest)
    used = whole.take(whole.nearest_edges(max_neighbors))
    sets = dict(zip(SETS, (whole, used), strict=True))
    wrong = wrong_edges(whole, max_neighbors=max_neighbors)
    on_map = draw_sample(len(vectors), map_clips, seed)
    points = lay_out(vectors.values[on_map], seed=seed)
    mapped = clips.set_index("utterance_id").loc[[vectors.ids[i] for i in on_map]]
    facts = {
        "graph": graph.name,
        "version": ser_nsl.__version__,
        "corpora": [corpus_title(name) for name in sorted(set(nodes["corpus"]))],
        "splits": list(of_graph),
        "built": _describe_building(graph),
        "max_neighbors": max_neighbors,
        "shuffles": shuffles,
        "seed": seed,
        "clips": len(nodes),
        "labelled": int((nodes["emotion"] != "").sum()),
        "speakers": nodes.loc[nodes["speaker"] != "", "speaker"].nunique(),
        "largest_weight_difference": _compare_weights(whole, vectors),
        **_describe_edges(sets, shuffles, seed),
        "emotions": _describe_emotions(sets),
        "wrong_edges": _count_wrong_edges(wrong),
        "map": _describe_map(mapped, points, len(vectors)),
    }
    text = json.dumps(facts, indent=1, allow_nan=False) + "\n"
    (out / "inspection.json").write_text(text, encoding="utf-8")
    texts = wrong.select_dtypes(exclude="number").columns
    shown = wrong[:_WRONG_WRITTEN].copy()
    shown[texts] = shown[texts].map(lambda cell: harmless(str(cell)))
    shown.to_csv(out / "wrong_edges.csv", index=False, float_format="%.6f", lineterminator="\n")
    content = facts | {
        "plots": draw_inspection(facts, sets, mapped, points),
        "worst": _choose_worst(wrong),
        "sets": SETS,
        "same_weight": _SAME_WEIGHT,
    }
    page = _TEMPLATES.get_template("inspection.html.j2").render(content)
    (out / "inspection.html").write_text(page, encoding="utf-8")
    return {
        "clips": len(nodes),
        "edges": len(whole),
        "edges_between_emotions": len(wrong),
        "clips_on_map": 0 if points is None else len(points),
    }


def _find_splits(graph: Path, splits: tuple[str, ...] | None) -> tuple[str, ...]:
    if splits is None:
        record = read_record(graph) or {"settings": {}}
        splits = tuple(record["settings"].get("splits", ("train",)))
    if not splits or not set(splits) <= set(SPLITS):
        raise InputError(f"splits: must be one or more of {', '.join(SPLITS)}; received {splits}.")
    return splits


def _read_embeddings(
    folder: Path, clips: pd.DataFrame, nodes: pd.DataFrame, manifest: Path
) -> Vectors:
    """Reads all splits of the embeddings, and checks that they fit the manifest."""
    files = [
        path for split in SPLITS if has_split(folder, split) for path in shard_paths(folder, split)
    ]
    if not files:
        raise InputError(
            f"embeddings: {folder} holds no records; give the folder of extract-embeddings or "
            "center-embeddings."
        )
    vectors = read_vectors(files)
    unknown = sorted(set(vectors.ids) - set(clips["utterance_id"]))
    rule = f"{folder}: {len(vectors)} clips, of which some are not in {manifest}"
    refuse(unknown, rule, "Give the manifest from which they were embedded.")
    missing = sorted(set(nodes["utterance_id"]) - set(vectors.ids))
    rule = f"{folder}: some of the graph's {len(nodes)} clips have no embedding"
    refuse(missing, rule, "Give the embeddings from which the graph was built.")
    return vectors


def _describe_building(graph: Path) -> dict[str, Any] | None:
    """Returns the builder's settings in the graph's record; None without a record."""
    record = read_record(graph)
    if record is None:
        return None
    values = record["settings"] | record["counts"]
    names = ("builder", "similarity_threshold", "max_neighbors")
    return {name: values.get(name) for name in names}


def _compare_weights(graph: ClipGraph, vectors: Vectors) -> float | None:
    """Returns the largest difference of weight and cosine over up to 10,000 edges, or None."""
    if not len(graph):
        return None
    edges = np.unique(np.linspace(0, len(graph) - 1, _WEIGHTS_COMPARED).astype(int))
    rows = pd.Index(vectors.ids).get_indexer(graph.clips["utterance_id"])
    cosines = vectors.cosines(*rows[graph.ends[:, edges]])
    return round(float(np.abs(cosines - graph.weights[edges]).max()), 6)


def _describe_edges(sets: Mapping[str, ClipGraph], shuffles: int, seed: int) -> dict[str, Any]:
    statistics = {name: graph_statistics(graph) for name, graph in sets.items()}
    shuffled = shuffle_labels(list(sets.values()), shuffles=shuffles, seed=seed)
    by_chance = statistics["all_edges"]
    facts: dict[str, Any] = {
        "chance": {share: or_none(getattr(by_chance, f"{share}_chance")) for share in SHARES}
    }
    for (name, found), by_share in zip(statistics.items(), shuffled, strict=True):
        several = [size for size in found.components if size > 1]
        facts[name] = found.describe_degrees() | {
            "median_degree": float(np.median(found.degrees)),
            "components": len(found.components),
            "components_of_several": len(several),
            "largest_components": several[:_COMPONENTS_SHOWN],
            "weights": _describe_weights(sets[name].weights),
            "shares": {
                share: {
                    "share": or_none(getattr(found, share)),
                    "shuffled": None if (chance := by_share[share]) is None else asdict(chance),
                }
                for share in SHARES
            },
        }
    return facts


def _describe_weights(weights: np.ndarray) -> dict[str, float] | None:
    if not len(weights):
        return None
    return {
        "smallest": float(weights.min()),
        "median": float(np.median(weights)),
        "largest": float(weights.max()),
    }


def _describe_emotions(sets: Mapping[str, ClipGraph]) -> dict[str, Any]:
    """Counts clips and edges by emotion; clips without an emotion come last, under None."""
    whole = sets["all_edges"]
    tables = {name: edges_by_emotion(graph) for name, graph in sets.items()}
    chance = tables["all_edges"][1]
    of_clip = whole.clips["emotion"]
    isolated = of_clip[whole.degrees == 0].value_counts()
    return {
        "names": [name or None for name in chance.index],
        "clips": of_clip.value_counts()[chance.index].tolist(),
        "isolated": isolated.reindex(chance.index, fill_value=0).tolist(),
        "chance": chance.to_numpy().tolist(),
        **{name: counts.to_numpy().tolist() for name, (counts, _) in tables.items()},
    }


def _count_wrong_edges(wrong: pd.DataFrame) -> dict[str, int]:
    return {
        "edges": len(wrong),
        "between_speakers": int((wrong["same_speaker"] == "no").sum()),
        "used_in_training": int((wrong["used_in_training"] == "yes").sum()),
        "written": min(len(wrong), _WRONG_WRITTEN),
    }


def _choose_worst(wrong: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the worst of all edges and the worst between speakers, with a column for either."""
    across = wrong["same_speaker"] == "no"
    shown = np.arange(len(wrong)) < _WRONG_SHOWN
    rows = wrong.assign(among_worst=shown, across=across)
    return rows[shown | (across & (across.cumsum() <= _WRONG_SHOWN))].to_dict("records")


def _describe_map(
    clips: pd.DataFrame, points: np.ndarray | None, embedded: int
) -> dict[str, Any] | None:
    if points is None:
        return None
    rounded = points.round(3).tolist()
    return {
        "clips": len(points),
        "embedded": embedded,
        "by_split": {split: int((clips["split"] == split).sum()) for split in SPLITS},
        "points": dict(zip(clips.index, rounded, strict=True)),
    }


_TEMPLATES = page_templates(percent=percent)
