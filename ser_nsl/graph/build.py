"""The stage from embeddings to a graph, by the official builder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import neural_structured_learning as nsl
import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.graph.table import read_graph
from ser_nsl.records import read_embeddings, shard_paths
from ser_nsl.stage import stage


@stage(inputs=("embeddings",), makes="file")
def build_graph(
    *,
    embeddings: Path,
    out: Path,
    similarity_threshold: float = 0.99,
    lsh_splits: int = 2,
    lsh_rounds: int = 4,
    seed: int = 12345,
    splits: tuple[str, ...] = ("train",),
) -> Mapping[str, Any]:
    """Joins clips whose embeddings have a high cosine similarity.

    `nsl.tools.build_graph_from_config` decides the edges; the lines are then sorted, since it
    writes them in the order of a set of strings, which differs from run to run.

    Args:
        embeddings: Records of embeddings.
        out: The graph, a TSV file: source, target, weight, both directions.
        similarity_threshold: Least cosine similarity of an edge, -1 to 1.
        lsh_splits: Hyperplanes of the locality-sensitive hashing, so 2 to this power buckets;
            0 compares all pairs.
        lsh_rounds: Hashings; pairs that share a bucket in any of them are compared.
        seed: Of the hyperplanes.
        splits: Which clips become nodes; never the test split.

    Returns:
        Numbers of clips, undirected edges, and clips without an edge.

    Raises:
        InputError: If a setting is out of range, or embeddings are damaged, of several widths,
            not finite or all zero.
    """
    if not -1 <= similarity_threshold <= 1:
        raise InputError(
            f"similarity_threshold: a cosine lies in -1 to 1; received {similarity_threshold}."
        )
    if lsh_splits < 0 or (lsh_splits > 0 and lsh_rounds < 1):
        raise InputError(
            "lsh_splits, lsh_rounds: must be 0 or more, and 1 or more; received "
            f"{lsh_splits}, {lsh_rounds}."
        )
    if "test" in splits:
        raise InputError(
            "splits: the test split must not shape the graph; choose train or train val."
        )
    vectors = read_embeddings(embeddings, splits)
    zero = [utterance_id for utterance_id, vector in vectors.items() if not np.any(vector)]
    if zero:
        raise InputError(
            f"{embeddings}: {len(zero)} embeddings are all zero, so they have no direction (first: "
            f"{', '.join(zero[:3])}). Train the upstream longer or embed another layer."
        )
    files = [str(path) for split in splits for path in shard_paths(embeddings, split)]
    logging.getLogger("absl").setLevel(logging.WARNING)
    nsl.tools.build_graph_from_config(
        files,
        str(out),
        nsl.configs.GraphBuilderConfig(
            similarity_threshold=similarity_threshold,
            lsh_splits=lsh_splits,
            lsh_rounds=lsh_rounds,
            random_seed=seed,
        ),
    )
    with out.open() as lines:
        ordered = sorted(lines)
    out.write_text("".join(ordered))
    graph = read_graph(out)
    return {
        "clips": len(vectors),
        "edges": len(graph) // 2,
        "clips_without_edge": len(vectors) - graph["source"].nunique(),
    }
