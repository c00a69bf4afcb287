"""The stage that carries labels along the edges of a graph: soft labels for clips without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ser_nsl.audio.examples import UNLABELLED, embedding_example
from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.corpora.labels import check_hidden, check_share, check_splits, known_labels
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError
from ser_nsl.graph.table import check_edges, number_edges, read_graph
from ser_nsl.pipeline.stage import stage

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_STEPS = 50


@stage(inputs=("graph", "embeddings", "manifest"), makes="folder")
def propagate_labels(
    *,
    graph: Path,
    embeddings: Path,
    manifest: Path,
    out: Path,
    label_share: float = 1.0,
    seed: int = 0,
    weight: float = 0.8,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
) -> Mapping[str, Any]:
    """Corrects and smooths the probabilities of emotions along the edges of a graph.

    As Correct and Smooth (arXiv 2010.13993): what the probabilities of labelled clips are off from
    their labels is carried to neighbours and added there, then labels and corrected probabilities
    are carried on. The result teaches a network: `train-downstream --method probabilities`.

    Args:
        graph: Graph between clips of these splits.
        embeddings: Folder with the probabilities of these clips, made by `probe_embeddings`.
        manifest: Manifest with the emotions of these clips.
        out: Folder for the new probabilities, in as many shards.
        label_share: Share of the labels that may be known, as for the probe.
        seed: Seed of the choice of these labels, as for the probe.
        weight: Weight of the neighbours against the clip itself in each of 50 steps, from 0 to
            below 1.
        splits: Splits whose clips are in the graph, as for the probe; never the test split.

    Returns:
        Numbers of clips and of labels used, and how many clips have another likeliest emotion than
        before.

    Raises:
        InputError: If a number is out of range, the test split is among the splits, the probe knew
            other labels, a clip of the graph has no probabilities, or they are not those of the
            manifest's emotions.

    Example:
        >>> from ser_nsl.embeddings import probe_embeddings
        >>> probed = probe_embeddings(embeddings=Path("embeddings"), manifest=Path("manifest.csv"),
        ...     out=Path("probed"), label_share=0.5)
        >>> made = propagate_labels(graph=Path("graph.tsv"), embeddings=Path("probed"),
        ...     manifest=Path("manifest.csv"), out=Path("propagated"), label_share=0.5)
        >>> made.counts["clips"]
        12
    """
    check_share(label_share)
    if not 0 <= weight < 1:
        raise InputError(f"weight: must be from 0 to below 1; received {weight}.")
    check_splits(splits)
    check_hidden(embeddings, label_share, seed, splits, argument="embeddings")
    vectors = read_embeddings(embeddings, splits)
    ids = sorted(vectors)
    before = np.stack([vectors[utterance_id] for utterance_id in ids]).astype(np.float64)
    emotions = column_of_clips("emotion", manifest, ids, embeddings)
    index = {name: i for i, name in enumerate(sorted({*emotions} - {""}))}
    if before.shape[1] != len(index):
        raise InputError(
            f"embeddings: {embeddings} must hold one probability for each of {len(index)} "
            f"emotions of {manifest}; received {before.shape[1]} numbers. Give what ser-nsl "
            "probe-embeddings makes of this corpus."
        )
    labels = emotions.map(index).fillna(UNLABELLED).to_numpy(np.int64)
    labels = known_labels(ids, labels, label_share, seed)
    edges = read_graph(graph, for_training=True)
    check_edges(edges, ids, path=graph, where=str(embeddings))
    after = correct_and_smooth(before, labels, _normalised(edges, ids), weight)
    probability_of = dict(zip(ids, after.astype(np.float32), strict=True))
    name = f"{read_upstream(embeddings, splits[0])}-propagated"
    for split in splits:
        with ShardWriter(out, split, len(shard_paths(embeddings, split))) as writer:
            for utterance_id in sorted(read_embeddings(embeddings, [split])):
                vector = probability_of[utterance_id]
                writer.write(embedding_example(utterance_id, vector, name))
    changed = before.argmax(axis=1) != after.argmax(axis=1)
    known = int((labels != UNLABELLED).sum())
    return {"clips": len(ids), "labels": known, "changed": int(changed.sum())}


def correct_and_smooth(
    probabilities: np.ndarray, labels: np.ndarray, matrix: csr_array, weight: float
) -> np.ndarray:
    """Corrects and smooths probabilities along edges (arXiv 2010.13993, with autoscale).

    Args:
        probabilities: float64, shape `(clips, classes)`.
        labels: int64, shape `(clips,)`; -1 for none.
        matrix: Weights between clips, symmetrically normalised, float64, shape `(clips, clips)`.
        weight: Weight of the neighbours in each step.

    Returns:
        Probabilities, float64, of the same shape; those of labelled clips too.

    Example:
        >>> from scipy.sparse import csr_array
        >>> three = csr_array([[0, 0.8, 0], [0.8, 0, 0.1], [0, 0.1, 0]])  # the third is far
        >>> unsure = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
        >>> correct_and_smooth(unsure, np.array([1, -1, -1]), three, 0.5).argmax(axis=1)
        array([1, 1, 1])
    """
    known = labels != UNLABELLED
    given = np.eye(probabilities.shape[1])[labels[known]]
    errors = np.zeros_like(probabilities)
    errors[known] = given - probabilities[known]
    spread = _spread(errors, matrix, weight)
    size = np.abs(spread).sum(axis=1, keepdims=True)
    typical = np.abs(errors[known]).sum(axis=1).mean()
    scaled = np.divide(typical * spread, size, out=np.zeros_like(spread), where=size > 0)
    corrected = np.clip(probabilities + scaled, 0, None)
    corrected /= corrected.sum(axis=1, keepdims=True)
    corrected[known] = given
    smooth = np.clip(_spread(corrected, matrix, weight), 0, None)
    return smooth / smooth.sum(axis=1, keepdims=True)


def _spread(values: np.ndarray, matrix: csr_array, weight: float) -> np.ndarray:
    result = values
    for _ in range(_STEPS):
        result = (1 - weight) * values + weight * (matrix @ result)
    return result


def _normalised(graph: Any, ids: list[str]) -> csr_array:
    """Weights in both directions, divided by the roots of the sums of both clips' weights."""
    from scipy.sparse import coo_array, diags_array

    edges = number_edges(graph, ids)
    shape = (len(ids), len(ids))
    one_way = coo_array((edges.weights, (edges.sources, edges.targets)), shape=shape).tocsr()
    both = one_way.maximum(one_way.T)
    sums = np.asarray(both.sum(axis=1)).ravel()
    roots = diags_array(np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0))
    return (roots @ both @ roots).tocsr()
