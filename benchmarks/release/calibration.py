"""How far probabilities are from how often they are right."""

from __future__ import annotations

import numpy as np

_BINS = 10


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Computes the expected calibration error of the top class (arXiv 1706.04599, equation 3).

    Args:
        probabilities: float, shape `(clips, classes)`, in [0, 1].
        labels: True classes, int, shape `(clips,)`.

    Returns:
        The mean over the clips, in ten bins of confidence, of how far the mean confidence is from
        the accuracy, in [0, 1].

    Example:
        >>> sure = np.array([[0.9, 0.1], [0.9, 0.1]])
        >>> round(calibration_error(sure, np.array([0, 1])), 3)  # right half of the time
        0.4
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs((confidence[bins == each] - right[bins == each]).sum()) for each in np.unique(bins)]
    return float(sum(gaps) / len(labels))
