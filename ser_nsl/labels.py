"""Which labels training may know, in studies of few labels."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from ser_nsl.records import UNLABELLED


def known_labels(ids: Sequence[str], labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Hides labels, of each class alike.

    Whether a clip keeps its label depends on the ids, not on their order; what a share keeps, a
    larger one keeps too.

    Args:
        ids: Of the clips.
        labels: int, shape `(clips,)`; -1 for none.
        share: Of each class's clips that keep their label, above 0, at most 1; rounded up.
        seed: Of the draw.

    Returns:
        The labels, with -1 in place of the hidden ones.
    """
    draws = np.array([hashlib.sha256(f"{seed} {each}".encode()).hexdigest() for each in ids])
    known = np.full_like(labels, UNLABELLED)
    for label in np.unique(labels[labels != UNLABELLED]):
        rows = np.flatnonzero(labels == label)
        count = math.ceil(round(share * len(rows), 6))  # 0.07 x 100 is above 7
        known[rows[np.argsort(draws[rows])][:count]] = label
    return known
