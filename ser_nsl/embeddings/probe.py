"""The stage that turns embeddings into emotion probabilities, so that similarity means emotion."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.examples import UNLABELLED, embedding_example
from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.corpora.labels import check_share, check_splits, known_labels
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError
from ser_nsl.evaluation.linear import CHOICES, linear_classifier
from ser_nsl.pipeline.stage import stage

_MOST_FOLDS = 5


@stage(inputs=("embeddings", "manifest"), makes="folder", remote=("embeddings",))
def probe_embeddings(
    *,
    embeddings: Path,
    manifest: Path,
    out: Path,
    label_share: float = 1.0,
    seed: int = 0,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
) -> Mapping[str, Any]:
    """Replaces training embeddings by the emotion probabilities of a linear classifier (a probe).

    Neighbouring embeddings share much that is not emotion. A logistic regression on the labels
    that are known in training finds the directions that matter; clips are then similar if it gives
    them similar probabilities. Clips of other splits are not read.

    A clip whose label is known is read by a regression that has not learned from its speaker: one
    that has would be surer of it than of any clip to come. Where speakers are unknown, too few, or
    have one emotion each, clips take their place. These readings also choose how strongly the
    regression is regularised.

    Args:
        embeddings: Folder with embeddings of the training clips.
        manifest: Manifest with the emotions of these clips.
        out: Folder for the new embeddings: one probability per emotion, in as many shards.
        label_share: Share of the labels that the probe may use, above 0, at most 1; the same as
            train-downstream's --training.label-share.
        seed: Seed of the choice of these labels; the same as train-downstream's --training.seed.
        splits: Splits whose clips the probe learns from and reads, and from whose labels the share
            is drawn; the same as train-downstream's --splits, never the test split.

    Returns:
        Number of clips, of labels used, and of emotions, and C of the regression.

    Raises:
        InputError: If the test split is among the splits, a clip is not in the manifest, fewer than
            two emotions have labels, none has two, or the embeddings cannot be read.

    Example:
        >>> made = probe_embeddings(
        ...     embeddings=Path("embeddings"), manifest=Path("manifest.csv"), out=Path("probed")
        ... )
        >>> made.counts
        {'clips': 12, 'labels': 12, 'emotions': 3, 'inverse_regularisation': ...}
        >>> probabilities = [*read_embeddings(Path("probed"), ["train"]).values()]
        >>> round(float(sum(probabilities[0])), 3)
        1.0
    """
    check_share(label_share)
    check_splits(splits)
    vectors = read_embeddings(embeddings, splits)
    emotions = column_of_clips("emotion", manifest, vectors, embeddings)
    index = {name: i for i, name in enumerate(sorted({*emotions} - {""}))}
    labels = emotions.map(index).fillna(UNLABELLED).to_numpy(np.int64)
    labels = known_labels([*vectors], labels, label_share, seed)
    counts = np.bincount(labels[labels != UNLABELLED], minlength=2)
    if (counts > 0).sum() < 2 or counts.max() < 2:
        raise InputError(
            f"manifest: the clips of {embeddings} must have labels of at least two emotions for a "
            f"probe, and two of one; {counts.sum()} clips have a label."
        )
    matrix = np.stack([*vectors.values()]).astype(np.float64)
    speakers = column_of_clips("speaker", manifest, vectors, embeddings).to_numpy(str)
    probabilities, choice = read_probabilities(matrix, labels, speakers)
    probability_of = dict(zip(vectors, probabilities, strict=True))
    name = f"{read_upstream(embeddings, splits[0])}-probe"
    for split in splits:
        with ShardWriter(out, split, len(shard_paths(embeddings, split))) as writer:
            for utterance_id in read_embeddings(embeddings, [split]):
                vector = probability_of[utterance_id]
                writer.write(embedding_example(utterance_id, vector, name))
    return {
        "clips": len(vectors),
        "labels": int(counts.sum()),
        "emotions": probabilities.shape[1],
        "inverse_regularisation": choice,
    }


def read_probabilities(
    vectors: np.ndarray, labels: np.ndarray, speakers: np.ndarray
) -> tuple[np.ndarray, float]:
    """Reads emotions by regressions that have not learned the label of the clip that they read.

    Args:
        vectors: float64, shape `(clips, width)`.
        labels: int64, shape `(clips,)`; -1 for none.
        speakers: Speakers of the clips, str, shape `(clips,)`; empty for unknown ones.

    Returns:
        Probabilities, float32, shape `(clips, emotions)` with a column for each emotion that has
        labels, and the C whose readings of the labelled clips have the highest UAR.

    Example:
        >>> vectors = np.array([[0.0], [0.1], [1.0], [0.9], [0.05]])
        >>> labels, speakers = np.array([0, 0, 1, 1, -1]), np.array(["a", "b", "a", "b", "c"])
        >>> read_probabilities(vectors, labels, speakers)[0].argmax(axis=1)
        array([0, 0, 1, 1, 0])
    """
    from sklearn.metrics import balanced_accuracy_score

    known = np.flatnonzero(labels != UNLABELLED)
    emotions, own = np.unique(labels[known], return_inverse=True)
    folds = _folds(own, speakers[known])
    held_out = {choice: np.zeros((len(known), len(emotions))) for choice in CHOICES}
    for choice, read in held_out.items():
        for train, rest in folds:
            others, clips = vectors[known[train]], vectors[known[rest]]
            read[rest] = _read(others, own[train], clips, len(emotions), choice)
    uar = {c: balanced_accuracy_score(own, read.argmax(axis=1)) for c, read in held_out.items()}
    best = max(uar, key=lambda choice: uar[choice])
    result = _read(vectors[known], own, vectors, len(emotions), best)
    result[known] = held_out[best]
    return result.astype(np.float32), best


def _read(
    train: np.ndarray, labels: np.ndarray, vectors: np.ndarray, emotions: int, choice: float
) -> np.ndarray:
    """Probabilities of all emotions; 0 for those that no clip of training has."""
    result = np.zeros((len(vectors), emotions))
    present = np.unique(labels)
    if len(present) == 1:
        result[:, present] = 1.0
    else:
        result[:, present] = linear_classifier(choice).fit(train, labels).predict_proba(vectors)
    return result


def _folds(labels: np.ndarray, speakers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divides clips by speaker if all parts that train have every emotion of two clips or more.

    Else clips are divided as they are.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    clips = np.arange(len(labels))
    groups = np.where(speakers == "", np.char.add("clip ", clips.astype(str)), speakers)
    counts = np.bincount(labels)
    most, repeated = min(_MOST_FOLDS, int(counts.max())), np.flatnonzero(counts > 1)
    for each in (groups, clips):
        count = min(most, len(np.unique(each)))
        if count < 2:
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            divided = [*StratifiedGroupKFold(count).split(clips, labels, each)]
        folds = [(train, rest) for train, rest in divided if len(rest)]
        if all(np.isin(repeated, labels[train]).all() for train, _ in folds):
            break
    return folds
