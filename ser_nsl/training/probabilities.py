"""Probabilities of emotions that a probe or a graph gives to clips."""

from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.errors import InputError

_SUM_TOLERANCE = 1e-3


def check_probabilities(vectors: np.ndarray, classes: int, source: Path) -> None:
    """Refuses vectors that are not probabilities of the classes.

    Args:
        vectors: float, shape `(clips, width)`.
        classes: Number of classes.
        source: Folder that they come from, for the error.

    Raises:
        InputError: If their width is another, one is negative, or some do not sum to 1.
    """
    advice = "Give what ser-nsl probe-embeddings or propagate-labels makes of this corpus."
    if vectors.shape[1] != classes:
        raise InputError(
            f"embeddings: {source} must hold one probability for each of {classes} emotions; "
            f"received {vectors.shape[1]} numbers. {advice}"
        )
    sums = vectors.sum(axis=1)
    worst: Any = sums[np.abs(sums - 1).argmax()]
    if vectors.min() < 0 or abs(worst - 1) > _SUM_TOLERANCE:
        raise InputError(
            f"embeddings: probabilities in {source} must be 0 or more and sum to 1; received a "
            f"sum of {worst:g} and a least value of {vectors.min():g}. {advice}"
        )
