"""In which order training sees its clips: the same for one seed, whatever ran before."""

from collections.abc import Callable

import numpy as np

OnePass = Callable[[np.random.Generator], np.ndarray]
"""Draws an order that holds every clip once."""


def shuffled(rows: np.ndarray) -> OnePass:
    """Orders that are drawn from all alike.

    Args:
        rows: int64, shape `(clips,)`.

    Returns:
        A function that draws one of them with a generator of random numbers.
    """
    return lambda random: random.permutation(rows)


def epoch_order(one_pass: OnePass, epoch: int, *, clips: int, length: int, seed: int) -> np.ndarray:
    """Finds what an epoch sees, without having gone through those before it.

    Passes over all clips follow one another; an epoch is a stretch of them.

    Args:
        one_pass: Draws a pass.
        epoch: From 0.
        clips: Clips of a pass.
        length: Clips of an epoch; as many as of a pass, if every clip is to be seen once.
        seed: Of all passes.

    Returns:
        int64, shape `(length,)`: rows.
    """
    start = epoch * length
    first, last = start // clips, (start + length - 1) // clips
    drawn = [one_pass(np.random.default_rng((seed, each))) for each in range(first, last + 1)]
    return np.concatenate(drawn)[start - first * clips :][:length]
