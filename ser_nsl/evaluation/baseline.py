"""The stage that scores the simplest recogniser: a linear classifier on embeddings of clips."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.shards import has_split
from ser_nsl.corpora.labels import check_share, known_labels
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError
from ser_nsl.evaluation.linear import CHOICES, INVERSE_REGULARISATION, linear_classifier
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings", "manifest"), makes="file", remote=("embeddings",))
def evaluate_baseline(
    *, embeddings: Path, manifest: Path, out: Path, label_share: float = 1.0, seed: int = 0
) -> Mapping[str, Any]:
    """Trains a linear classifier on embeddings, and scores it on the test clips.

    A network that is not above it has learned nothing that the embeddings do not show. The
    classifier is a logistic regression on standardised embeddings; the validation clips choose how
    strongly it is regularised.

    Args:
        embeddings: Folder with embeddings of the training, test and, where there are any,
            validation clips.
        manifest: Manifest with the emotions of these clips.
        out: Result file (JSON), as of `evaluate`, and the UAR of training and validation clips.
        label_share: Share of the training labels that are used, above 0, at most 1; the same as
            train-downstream's --training.label-share.
        seed: Seed of the choice of these labels; the same as train-downstream's --training.seed.

    Returns:
        UAR of the test, validation and training clips, and number of test clips.

    Raises:
        InputError: If a clip is not in the manifest, no test clip has a label, fewer than two
            emotions have labels in training, or the embeddings cannot be read.

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
    vectors, emotions = {}, {}
    for split in ("train", "val", "test"):
        if split != "val" or has_split(embeddings, split):
            vectors[split], emotions[split] = _read_labelled(embeddings, manifest, split)
    classes = sorted({*emotions["train"]})
    index = {name: i for i, name in enumerate(classes)}
    labels = {split: given.map(index).to_numpy(np.int64) for split, given in emotions.items()}
    known = known_labels([*emotions["train"].index], labels["train"], label_share, seed)
    is_known = known != UNLABELLED
    if len(np.unique(known[is_known])) < 2:
        raise InputError(
            f"manifest: the clips of {embeddings} must have labels of at least two emotions for a "
            f"baseline; {is_known.sum()} training clips have a label."
        )
    trained = {
        choice: linear_classifier(choice).fit(vectors["train"][is_known], known[is_known])
        for choice in (CHOICES if "val" in labels else (INVERSE_REGULARISATION,))
    }

    def scored(choice: float, split: str) -> dict[str, Any]:
        return score(labels[split], trained[choice].predict(vectors[split]), classes)

    best = max(trained, key=lambda choice: scored(choice, "val")["uar"] if "val" in labels else 0)
    result = scored(best, "test")
    result["train_uar"] = scored(best, "train")["uar"]
    result["val_uar"] = scored(best, "val")["uar"] if "val" in labels else None
    result["inverse_regularisation"] = best
    predicted = trained[best].predict(vectors["test"])
    names = [classes[i] for i in predicted]
    result["predictions"] = dict(zip(emotions["test"].index, names, strict=True))
    out.write_text(json.dumps(result, indent=1) + "\n")
    shown = {name: result[name] for name in ("uar", "val_uar", "train_uar")}
    return {name: f"{uar:.1%}" for name, uar in shown.items() if uar is not None} | {
        "clips": result["clips"]
    }


def _read_labelled(embeddings: Path, manifest: Path, split: str) -> tuple[np.ndarray, pd.Series]:
    """Embeddings of the clips of a split that have a label, and their emotions by id."""
    every = read_embeddings(embeddings, [split])
    emotions = column_of_clips("emotion", manifest, every, embeddings)
    emotions = emotions[emotions != ""]
    if emotions.empty:
        raise InputError(f"embeddings: {embeddings} holds no labelled clip of {split}.")
    return np.stack([every[name] for name in emotions.index]).astype(np.float64), emotions
