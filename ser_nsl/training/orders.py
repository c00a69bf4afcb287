"""The orders in which training visits its clips.

An order follows from the seed and the number of the epoch, whatever ran before.
"""

from collections.abc import Callable

import numpy as np

OnePass = Callable[[np.random.Generator], np.ndarray]
"""Draws an order that holds every clip once."""


def shuffled(rows: np.ndarray) -> OnePass:
    """Returns a function that draws random orders.

    Args:
        rows: Rows of the clips, int64, shape `(clips,)`.

    Returns:
        Function from a random generator to an order of these rows.

    Example:
        >>> draw = shuffled(np.array([0, 2, 3, 7]))
        >>> draw(np.random.default_rng(0))
        array([3, 0, 2, 7])
    """
    return lambda random: random.permutation(rows)


def neighborhood_order(
    neighbors: np.ndarray, weights: np.ndarray, random: np.random.Generator, *, group: int
) -> np.ndarray:
    """Draws an order in which neighbours follow each other, after Cluster-GCN (arXiv 1905.07953).

    A random clip is followed by those of its neighbours that have no place yet, then by neighbours
    of these, until the group is full or no neighbour is left; then the groups are shuffled. A batch
    holds several small groups rather than one large one, so that it is still a mix of emotions.

    Args:
        neighbors: Rows of each clip's neighbours, int, shape `(clips, n)`.
        weights: Weights of these edges, float, shape `(clips, n)`; 0 where there is no neighbour.
        random: Random generator.
        group: Largest number of clips in a group, 1 or more.

    Returns:
        int64, shape `(clips,)`: every row once.
    """
    left = np.ones(len(neighbors), bool)
    groups = []
    for start in random.permutation(len(neighbors)).tolist():
        if not left[start]:
            continue
        left[start] = False
        members = [start]
        for member in members:  # grows during the loop
            near = np.unique(neighbors[member][weights[member] > 0])
            near = random.permutation(near[left[near]])[: group - len(members)]
            left[near] = False
            members += near.tolist()
        groups.append(members)
    order = random.permutation(len(groups)).tolist()
    return np.array([row for place in order for row in groups[place]], np.int64)


def epoch_order(one_pass: OnePass, epoch: int, *, clips: int, length: int, seed: int) -> np.ndarray:
    """Returns the order of one epoch.

    Passes over all clips follow one another, and epochs divide this series into equal lengths.

    Args:
        one_pass: Draws a pass.
        epoch: Number of the epoch, from 0.
        clips: Number of clips in a pass.
        length: Number of clips in an epoch.
        seed: Seed of all passes.

    Returns:
        int64, shape `(length,)`: rows.
    """
    start = epoch * length
    first, last = start // clips, (start + length - 1) // clips
    passes = [one_pass(np.random.default_rng((seed, number))) for number in range(first, last + 1)]
    return np.concatenate(passes)[start - first * clips :][:length]
