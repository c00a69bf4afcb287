"""UAR, accuracy, confusion matrix, significance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["score", "z_test"]


def score(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Scores predictions.

    Args:
        labels: True classes, int, shape `(clips,)`.
        predicted: Predicted classes, int, shape `(clips,)`.
        classes: Names of the classes in the order of the indices.

    Returns:
        `clips`, `uar` and `accuracy` in [0, 1], `recall` by class (None where the class has no
        clip), `confusion_matrix` (rows true, columns predicted, counts) and `classes`.

    Example:
        >>> found = score(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("anger", "joy"))
        >>> round(found["uar"], 3), found["accuracy"]
        (0.833, 0.75)
    """
    from sklearn.metrics import confusion_matrix

    confusion = confusion_matrix(labels, predicted, labels=range(len(classes)))
    clips, hits = confusion.sum(axis=1), confusion.diagonal()
    recalls = [
        float(hit / count) if count else None for hit, count in zip(hits, clips, strict=True)
    ]
    return {
        "clips": len(labels),
        "uar": float(np.mean([recall for recall in recalls if recall is not None])),
        "accuracy": float(hits.sum() / len(labels)),
        "recall": dict(zip(classes, recalls, strict=True)),
        "confusion_matrix": confusion.tolist(),
        "classes": list(classes),
    }


def score_speakers(
    predictions: Mapping[str, str], clips: pd.DataFrame, classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Scores the clips of each speaker.

    Args:
        predictions: Predicted class by id.
        clips: Columns `speaker` and `emotion` by id, of these clips at least.
        classes: Names of the classes.

    Returns:
        From each speaker, in alphabetical order, to what `score` returns; clips of unknown speakers
        are left out.
    """
    table = clips.loc[[*predictions]].assign(predicted=[*predictions.values()])
    index = {name: i for i, name in enumerate(classes)}
    return {
        speaker: score(
            rows["emotion"].map(index).to_numpy(), rows["predicted"].map(index).to_numpy(), classes
        )
        for speaker, rows in table[table["speaker"] != ""].groupby("speaker")
    }


def z_test(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Tests with a one-tailed z-test whether our system is better than theirs.

    The test compares two proportions with pooled variance. For UAR the number of hits is taken as
    UAR x clips, which is common in the field, but exact for balanced classes only.

    Args:
        ours: Result of `score`.
        theirs: Result of `score` of another system.

    Returns:
        Probability of a difference at least this large if both were equal, for `accuracy` and for
        `uar`; 0.5 where both are right on all clips or on none.

    Example:
        >>> ours = {"clips": 1000, "accuracy": 0.70, "uar": 0.66}
        >>> theirs = {"clips": 1000, "accuracy": 0.65, "uar": 0.65}
        >>> {name: round(p, 3) for name, p in z_test(ours, theirs).items()}
        {'accuracy': 0.008, 'uar': 0.319}
    """
    from statsmodels.stats.proportion import proportions_ztest

    clips = [ours["clips"], theirs["clips"]]
    probabilities = {}
    for name in ("accuracy", "uar"):
        hits = [ours[name] * ours["clips"], theirs[name] * theirs["clips"]]
        if sum(hits) in (0, sum(clips)):  # without variance the test is not defined
            probabilities[name] = 0.5
        else:
            probabilities[name] = float(proportions_ztest(hits, clips, alternative="larger")[1])
    return probabilities
