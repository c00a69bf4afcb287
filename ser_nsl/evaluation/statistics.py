"""How sure a mean difference between two ways to train is, with few test speakers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

FEWEST_SPEAKERS = 6
"""Fewest speakers for an interval and a test: the differences of fewer all have one sign by chance
more often than one time in twenty."""

_RESAMPLES = 9_999
_FLIPS = 2**16


def bootstrap_interval(differences: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Returns the 95 % bootstrap interval of the mean of paired differences.

    Args:
        differences: One difference a speaker, shape `(speakers,)`.

    Returns:
        Lower and upper end, from percentiles of 9,999 resamples with a fixed seed; None with fewer
        than `FEWEST_SPEAKERS`. Over few speakers such intervals are too narrow, so ask
        `sign_flip_test` too.

    Example:
        >>> low, high = bootstrap_interval([0.5, 0, 0, 0, 0, 0])
        >>> round(low, 3), round(high, 3)
        (0.0, 0.25)
    """
    from scipy.stats import bootstrap

    if len(differences) < FEWEST_SPEAKERS:
        return None
    interval = bootstrap(
        (np.asarray(differences),),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip_test(differences: Sequence[float] | np.ndarray) -> float | None:
    """Returns the two-sided p of a test that flips the signs of paired differences.

    If neither way is better, each difference is as likely to have the other sign.

    Args:
        differences: One difference a speaker, shape `(speakers,)`.

    Returns:
        Share of flips whose mean is as far from zero: exact up to 16 speakers, of 65,536 random
        flips with a fixed seed above; None with fewer than `FEWEST_SPEAKERS`.

    Example:
        >>> sign_flip_test([0.1, 0.2, 0.1, 0.3, 0.1, 0.2])  # 2 of 64: all up, or all down
        0.03125
    """
    from scipy.stats import permutation_test

    if len(differences) < FEWEST_SPEAKERS:
        return None
    test = permutation_test(
        (np.asarray(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=_FLIPS,  # scipy tries all flips where there are no more
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def pool_folds(folds: Iterable[Sequence[Any] | np.ndarray]) -> dict[str, float]:
    """Scores the test clips of all folds together, each once, however many seeds scored it.

    With all seeds in all folds the UAR is the mean over seeds of the UAR over all folds' clips.

    Args:
        folds: For each fold the confusion matrices of its seeds, shape `(seeds, classes, classes)`,
            rows true.

    Returns:
        `clips`, `accuracy` and `uar`, the mean recall of the classes that have clips, in [0, 1]; as
        `ser_nsl.evaluation.z_test` takes them.

    Example:
        >>> pool_folds([[[[8, 2], [0, 10]]], [[[6, 4], [2, 8]], [[8, 2], [2, 8]]]])["uar"]
        0.825
    """
    counts = np.sum([np.mean(seeds, axis=0) for seeds in folds], axis=0)
    hits, clips = counts.diagonal(), counts.sum(axis=1)
    recalls = hits[clips > 0] / clips[clips > 0]
    return {
        "clips": float(clips.sum()),
        "accuracy": float(hits.sum() / clips.sum()),
        "uar": float(recalls.mean()),
    }
