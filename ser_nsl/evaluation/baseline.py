"""The stage that scores the simplest recogniser: a linear classifier on embeddings of clips."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.shards import has_split
from ser_nsl.corpora.labels import check_share, check_splits, known_labels
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError
from ser_nsl.evaluation.linear import CHOICES, INVERSE_REGULARISATION, linear_classifier
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings", "manifest"), makes="file", remote=("embeddings",))
def evaluate_baseline(
    *,
    embeddings: Path,
    manifest: Path,
    out: Path,
    label_share: float = 1.0,
    seed: int = 0,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
) -> Mapping[str, Any]:
    """Trains a linear classifier on embeddings, and scores it on the test clips.

    A network that is not above it has learned nothing that the embeddings do not show. The
    classifier is a logistic regression on standardised embeddings; the validation clips choose how
    strongly it is regularised. Where they train too, they choose before, with the training clips
    alone, as they choose the epochs of networks.

    Args:
        embeddings: Folder with embeddings of the training, test and, where there are any,
            validation clips.
        manifest: Manifest with the emotions of these clips.
        out: Result file (JSON), as of `evaluate`, and the UAR of the clips that train, and of
            validation clips that do not (None without any).
        label_share: Share of the training labels that are used, above 0, at most 1; the same as
            train-downstream's --training.label-share.
        seed: Seed of the choice of these labels; the same as train-downstream's --training.seed.
        splits: Splits to train on; `train val` for the paper's test figures, the same as
            train-downstream's --splits.

    Returns:
        UAR of the test, validation and training clips, and number of test clips.

    Raises:
        InputError: If the test split is to train, a clip is not in the manifest, no test clip has a
            label, fewer than two emotions have labels in training, or the embeddings cannot be
            read.

    Example:
        >>> from ser_nsl.embeddings import extract_mfccs
        >>> mfccs = extract_mfccs(manifest=Path("manifest.csv"), out=Path("mfccs"),
        ...     splits=("train", "val", "test"))
        >>> made = evaluate_baseline(embeddings=Path("mfccs"), manifest=Path("manifest.csv"),
        ...     out=Path("baseline.json"))
        >>> made.counts["clips"], made.counts["train_uar"]
        (12, '100.0%')
    """
    check_share(label_share)
    check_splits(splits)
    vectors, emotions = {}, {}
    for split in ("train", "val", "test"):
        if split in (*splits, "test") or has_split(embeddings, split):
            vectors[split], emotions[split] = _read_labelled(embeddings, manifest, split)
    classes = sorted({name for split in splits for name in emotions[split]})
    index = {name: i for i, name in enumerate(classes)}
    labels = {
        split: given.map(index).fillna(UNLABELLED).to_numpy(np.int64)
        for split, given in emotions.items()
    }

    def known(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and labels of the clips of some splits whose label may be used."""
        ids = [utterance_id for name in names for utterance_id in emotions[name].index]
        every = np.concatenate([labels[name] for name in names])
        used = known_labels(ids, every, label_share, seed)
        rows = used != UNLABELLED
        if len(np.unique(used[rows])) < 2:
            raise InputError(
                f"manifest: the clips of {embeddings} must have labels of at least two emotions "
                f"for a baseline; {rows.sum()} clips of {' and '.join(names)} have a label."
            )
        return np.concatenate([vectors[name] for name in names])[rows], used[rows]

    trained, used = known(splits)
    best = INVERSE_REGULARISATION
    others = [split for split in splits if split != "val"]
    if "val" in labels and others:
        best = _choose(*known(others), vectors["val"], labels["val"], classes)
    classifier = linear_classifier(best).fit(trained, used)

    def scored(*names: str) -> dict[str, Any]:
        clips = np.concatenate([vectors[name] for name in names])
        true = np.concatenate([labels[name] for name in names])
        return score(true, classifier.predict(clips), classes)

    result = scored("test")
    result["train_uar"] = scored(*splits)["uar"]
    validated = "val" in labels and "val" not in splits
    result["val_uar"] = scored("val")["uar"] if validated else None
    result["inverse_regularisation"] = best
    names = [classes[i] for i in classifier.predict(vectors["test"])]
    result["predictions"] = dict(zip(emotions["test"].index, names, strict=True))
    out.write_text(json.dumps(result, indent=1) + "\n")
    shown = {name: result[name] for name in ("uar", "val_uar", "train_uar")}
    return {name: f"{uar:.1%}" for name, uar in shown.items() if uar is not None} | {
        "clips": result["clips"]
    }


def _choose(
    trained: np.ndarray,
    used: np.ndarray,
    vectors: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
) -> float:
    """The C with which a classifier of the training clips has the highest UAR in validation."""

    def uar(choice: float) -> float:
        classifier = linear_classifier(choice).fit(trained, used)
        return score(labels, classifier.predict(vectors), classes)["uar"]

    return max(CHOICES, key=uar)


def _read_labelled(embeddings: Path, manifest: Path, split: str) -> tuple[np.ndarray, pd.Series]:
    """Embeddings of the clips of a split that have a label, and their emotions by id."""
    every = read_embeddings(embeddings, [split])
    emotions = column_of_clips("emotion", manifest, every, embeddings)
    emotions = emotions[emotions != ""]
    if emotions.empty:
        raise InputError(f"embeddings: {embeddings} holds no labelled clip of {split}.")
    return np.stack([every[name] for name in emotions.index]).astype(np.float64), emotions
