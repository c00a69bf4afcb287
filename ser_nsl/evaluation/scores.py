"""UAR, accuracy, confusion matrix, significance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn import metrics
from statsmodels.stats.proportion import proportions_ztest

__all__ = ["score", "z_test"]


def score(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores predictions.

    Args:
        labels: int, shape `(clips,)`, true classes.
        predicted: int, shape `(clips,)`, predicted classes.
        classes: Names in the order of the indices.

    Returns:
        `clips`, `uar` and `accuracy` in [0, 1], `recall` by class (None where the class has no
        clip), `confusion_matrix` (rows true, columns predicted, counts) and `classes`.
    """
    confusion = metrics.confusion_matrix(labels, predicted, labels=range(len(classes)))
    clips = confusion.sum(axis=1)
    return {
        "clips": len(labels),
        "uar": float(
            metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro")
        ),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "recall": {
            name: float(confusion[i, i] / clips[i]) if clips[i] else None
            for i, name in enumerate(classes)
        },
        "confusion_matrix": confusion.tolist(),
        "classes": list(classes),
    }


def z_test(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """One-tailed z-test that our system is better than theirs.

    Compares two proportions with pooled variance. For UAR the number of hits is taken as
    UAR x clips, the custom of the field, which is exact for balanced classes only.

    Args:
        ours: Result of `score`.
        theirs: Result of `score` of another system.

    Returns:
        Probability of a difference at least so large if both were equal, for `accuracy` and
        for `uar`; 0.5 where both hit all clips or none.
    """
    clips = [ours["clips"], theirs["clips"]]
    probabilities = {}
    for name in ("accuracy", "uar"):
        hits = [ours[name] * ours["clips"], theirs[name] * theirs["clips"]]
        if sum(hits) in (0, sum(clips)):  # nothing varies, so the test is not defined
            probabilities[name] = 0.5
        else:
            probabilities[name] = float(proportions_ztest(hits, clips, alternative="larger")[1])
    return probabilities
