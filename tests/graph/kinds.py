"""Vectors of several kinds, in which a search for similar ones must find the same."""

import numpy as np


def random_vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(0.4, 1, (90, 33))


def clustered_vectors() -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.normal(0, 1, (9, 16))
    return centres[random.integers(9, size=90)] + random.normal(0, 0.3, (90, 16))


def duplicated_vectors() -> np.ndarray:
    """Each is there about three times, so neighbours tie."""
    random = np.random.default_rng(2)
    return random.normal(0, 1, (30, 24))[random.integers(30, size=90)]
