"""Agreement of emotions between similar clips, before any graph is built."""

from collections.abc import Iterator, Sequence

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import group_sizes

_DIGITS = 9  # sums of products may differ in their last bits from one machine to another
_BLOCK = 1_000  # clips compared with all others at a time


def neighbor_agreement(
    embeddings: np.ndarray, emotions: Sequence[str], speakers: Sequence[str], *, neighbors: int
) -> float:
    """Returns the share of the clips' nearest neighbours by other speakers that share the emotion.

    The time grows with the square of the number of clips, the memory with the number.

    Args:
        embeddings: float, shape `(clips, width)`; compared by cosine.
        emotions: Emotions of the clips.
        speakers: Speakers of the clips.
        neighbors: Number of nearest clips to count, 1 or more.

    Returns:
        The mean share over clips, 0 to 1. If similarities are equal to nine digits, the earlier
        clip counts as nearer.

    Raises:
        InputError: If a clip has fewer clips to compare with, or an embedding has no direction.
    """
    emotion_of, speaker_of = np.asarray(emotions, str), np.asarray(speakers, str)
    fewest = len(speaker_of) - int(group_sizes(speaker_of).max())
    if fewest < neighbors:
        raise InputError(
            f"neighbors: a clip can have {fewest} neighbours here, so {neighbors} are too many; "
            "give more clips or more speakers."
        )
    nearest = np.concatenate(list(_nearest(embeddings, speaker_of, neighbors)))
    return float((emotion_of[nearest] == emotion_of[:, np.newaxis]).mean())


def chance_agreement(emotions: Sequence[str], speakers: Sequence[str]) -> float:
    """Returns the expectation of `neighbor_agreement` for neighbours drawn at random.

    Args:
        emotions: Emotions of the clips.
        speakers: Speakers of the clips.

    Returns:
        The exact expectation, 0 to 1, the same for every number of neighbours.

    Raises:
        InputError: If a clip has no other to compare with.
    """
    emotion_of, speaker_of = np.asarray(emotions, str), np.asarray(speakers, str)
    candidates = len(speaker_of) - group_sizes(speaker_of)
    if not candidates.all():
        raise InputError(
            f"speakers: {(candidates == 0).sum()} of {len(candidates)} clips have no other clip "
            "to compare with; give more clips or more speakers."
        )
    alike = group_sizes(emotion_of) - group_sizes(emotion_of, speaker_of)
    return float(np.mean(alike / candidates))


def _nearest(embeddings: np.ndarray, speakers: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yields, block by block, the indices of each clip's neighbours, the most similar first."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lost = ~(np.isfinite(lengths) & (lengths > 0))
    if lost.any():
        raise InputError(
            f"embeddings: {lost.sum()} of {len(lost)} are all zero or not finite, so they have no "
            "direction; train the upstream longer."
        )
    vectors = vectors / lengths
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        similarity = (vectors[rows] @ vectors.T).round(_DIGITS)
        similarity[speakers[rows, np.newaxis] == speakers] = -np.inf
        yield np.argsort(-similarity, axis=1, kind="stable")[:, :count]
