"""How sure scores and their differences are, with few test speakers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FEWEST_SPEAKERS = 6
"""Fewest speakers for an interval and a test: the differences of fewer all have one sign by chance
more often than one time in twenty."""

_RESAMPLES = 9_999
_FLIPS = 2**16
_BATCH = 500  # resamples at a time, for the memory of many speakers


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
    if len(differences) < FEWEST_SPEAKERS:
        return None
    return _bootstrap(np.mean, np.asarray(differences))


def uar_interval(confusions: np.ndarray) -> tuple[float, float] | None:
    """Returns the 95 % bootstrap interval, over speakers, of the UAR of all their clips.

    Args:
        confusions: Confusion matrix of each speaker, shape `(speakers, classes, classes)`, rows
            true.

    Returns:
        Lower and upper end, from percentiles of 9,999 resamples with a fixed seed; None with fewer
        than `FEWEST_SPEAKERS`.

    Example:
        >>> good, bad = [[9, 1], [1, 9]], [[5, 5], [5, 5]]
        >>> low, high = uar_interval(np.array([good, good, good, bad, good, good]))
        >>> round(low, 2), round(high, 2)
        (0.7, 0.9)
    """
    confusions = np.asarray(confusions, float)
    if len(confusions) < FEWEST_SPEAKERS:
        return None

    def uar(speakers: np.ndarray, axis: int) -> np.ndarray:
        counts = confusions[speakers].sum(axis=axis - 2 if axis < 0 else axis)
        clips = counts.sum(axis=-1)
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        recalls = np.divide(hits, clips, out=np.full_like(clips, np.nan), where=clips > 0)
        return np.nanmean(recalls, axis=-1)

    return _bootstrap(uar, np.arange(len(confusions)), batch=_BATCH)


def mcnemar_test(right: Sequence[bool] | np.ndarray, others: Sequence[bool] | np.ndarray) -> float:
    """Returns the two-sided p of the exact McNemar test of two systems on the same clips.

    If neither is better, clips that one of them gets right and the other wrong are as likely to be
    of one kind as of the other.

    Args:
        right: Whether one system is right, for each clip.
        others: Whether the other is.

    Returns:
        The probability; 1 where they are right on the same clips.

    Example:
        >>> mcnemar_test([True] * 6 + [False], [False] * 6 + [False])  # 2 of 64
        0.03125
    """
    from statsmodels.stats.contingency_tables import mcnemar

    ours, theirs = np.asarray(right, bool), np.asarray(others, bool)
    table = [[(a & b).sum() for b in (theirs, ~theirs)] for a in (ours, ~ours)]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Corrects probabilities of several tests for their number, as Holm does.

    Args:
        p_values: One p a test; None for a test that could not be made.

    Returns:
        Corrected ones in the same order, at least as large.

    Example:
        >>> holm([0.01, None, 0.04])
        [0.02, None, 0.04]
    """
    from statsmodels.stats.multitest import multipletests

    known = [p for p in p_values if p is not None]
    corrected = iter(multipletests(known, method="holm")[1] if known else [])
    return [None if p is None else float(next(corrected)) for p in p_values]


def holm_of_groups(groups: Sequence[Sequence[float]]) -> list[list[float]]:
    """Corrects probabilities for the number of all tests, which come in groups.

    Args:
        groups: The p of each test of each group.

    Returns:
        Corrected ones in the same groups and order.

    Example:
        >>> holm_of_groups([[0.01], [], [0.04, 0.5]])
        [[0.03], [], [0.08, 0.5]]
    """
    corrected = iter(holm([p for group in groups for p in group]))
    return [[float(next(corrected) or 0.0) for _ in group] for group in groups]


def smallest_p(count: int) -> float:
    """Returns the smallest two-sided p that an exact test of signs can give.

    Args:
        count: Number of speakers or folds of `sign_flip_test`, or of clips of `mcnemar_test`, at
            least 1: all on one side, or all on the other.

    Returns:
        The probability, before any correction.

    Example:
        >>> smallest_p(6)
        0.03125
    """
    return 2.0 ** (1 - count)


def ratio_interval(
    parts: Sequence[float] | np.ndarray, wholes: Sequence[float] | np.ndarray
) -> tuple[float, float] | None:
    """Returns the 95 % bootstrap interval, over speakers, of a ratio of means.

    Args:
        parts: One number a speaker, shape `(speakers,)`.
        wholes: What it is a part of, in the same order.

    Returns:
        Lower and upper end, as of `bootstrap_interval`; None with fewer than `FEWEST_SPEAKERS`,
        and where the interval of the mean of `wholes` reaches zero, since the ratio has no bounds
        then.

    Example:
        >>> ratio_interval([1, 2, 1, 2, 1, 2], [2, 4, 2, 4, 2, 4])
        (0.5, 0.5)
    """
    whole = bootstrap_interval(wholes)
    if whole is None or whole[0] <= 0:
        return None
    return _bootstrap(
        lambda part, whole, axis: part.mean(axis=axis) / whole.mean(axis=axis),
        np.asarray(parts, float),
        np.asarray(wholes, float),
        paired=True,
        vectorized=True,
    )


def _bootstrap(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, **options: Any
) -> tuple[float, float]:
    """Returns the 95 % percentile interval of a statistic, by a fixed seed."""
    from scipy.stats import bootstrap

    interval = bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(0),
        **options,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip_test(
    differences: Sequence[float] | np.ndarray, *, fewest: int = FEWEST_SPEAKERS
) -> float | None:
    """Returns the two-sided p of a test that flips the signs of paired differences.

    If neither way is better, each difference is as likely to have the other sign.

    Args:
        differences: One difference a speaker, or a fold, shape `(speakers,)`.
        fewest: Fewest differences, 2 or more, that are tested.

    Returns:
        Share of flips whose mean is as far from zero: exact up to 16 differences, of 65,536 random
        flips with a fixed seed above; None with fewer than `fewest`.

    Example:
        >>> sign_flip_test([0.1, 0.2, 0.1, 0.3, 0.1, 0.2])  # 2 of 64: all up, or all down
        0.03125
    """
    from scipy.stats import permutation_test

    if len(differences) < fewest:
        return None
    test = permutation_test(
        (np.asarray(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=_FLIPS,  # scipy tries all flips where there are no more
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
