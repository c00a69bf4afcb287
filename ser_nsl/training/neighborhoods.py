"""Orders of clips in which neighbours meet in one batch, after Cluster-GCN (arXiv 1905.07953)."""

import numpy as np


def neighborhood_order(
    neighbors: np.ndarray, weights: np.ndarray, random: np.random.Generator, *, group: int
) -> np.ndarray:
    """Draws an order of all clips that is a row of small neighbourhoods.

    A clip drawn at random is followed by neighbours of it that are still to come, and where these
    run out by neighbours of those, until the group is full or nobody is left; then the groups are
    shuffled. Several small groups make a batch, not one large one, so that a batch still holds a
    mix of emotions.

    Args:
        neighbors: int, shape `(clips, n)`: rows of each clip's neighbours.
        weights: float, shape `(clips, n)`: 0 where there is no neighbour.
        random: Of the draws.
        group: Most clips of a neighbourhood, 1 or more.

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
        for member in members:  # grows while it is walked through
            near = np.unique(neighbors[member][weights[member] > 0])
            near = random.permutation(near[left[near]])[: group - len(members)]
            left[near] = False
            members += near.tolist()
        groups.append(members)
    order = random.permutation(len(groups)).tolist()
    return np.array([row for place in order for row in groups[place]], np.int64)
