"""Agreement of emotions between similar clips, before any graph is built."""

from collections.abc import Iterator, Sequence

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import group_sizes

_DIGITS = 9  # sums of products may differ in their last bits from one machine to another
_BLOCK = 1_000  # clips compared with all others at a time


def neighbor_agreement(
    embeddings: np.ndarray,
    emotions: Sequence[str],
    speakers: Sequence[str],
    *,
    neighbors: tuple[int, ...] = (3, 6, 9),
    across_speakers: bool,
) -> dict[int, float]:
    """Returns the share of the clips' nearest neighbours that have the clip's emotion.

    The time grows with the square of the number of clips, the memory with the number.

    Args:
        embeddings: float, shape `(clips, width)`; compared by cosine.
        emotions: Emotions of the clips.
        speakers: Speakers of the clips.
        neighbors: Numbers of nearest clips to count, all 1 or more.
        across_speakers: Whether clips of the same speaker are left out.

    Returns:
        The mean share over clips, 0 to 1, by number of neighbours. If similarities are equal to
        nine digits, the earlier clip counts as nearer.

    Raises:
        InputError: If a clip has fewer clips to compare with, or an embedding has no direction.
    """
    emotion_of, speaker_of = np.asarray(emotions, str), np.asarray(speakers, str)
    most, fewest = max(neighbors), int(_candidates(speaker_of, across_speakers).min())
    if fewest < most:
        raise InputError(
            f"neighbors: a clip can have {fewest} neighbours here, so {most} are too many; give "
            "more clips or more speakers."
        )
    nearest = np.concatenate(list(_nearest(embeddings, speaker_of, most, across_speakers)))
    agrees = emotion_of[nearest] == emotion_of[:, np.newaxis]
    return {count: float(agrees[:, :count].mean()) for count in neighbors}


def chance_agreement(
    emotions: Sequence[str], speakers: Sequence[str], *, across_speakers: bool
) -> float:
    """Returns the expectation of `neighbor_agreement` for neighbours drawn at random.

    Args:
        emotions: Emotions of the clips.
        speakers: Speakers of the clips.
        across_speakers: Whether clips of the same speaker are left out.

    Returns:
        The exact expectation, 0 to 1, the same for every number of neighbours.

    Raises:
        InputError: If a clip has no other to compare with.
    """
    emotion_of, speaker_of = np.asarray(emotions, str), np.asarray(speakers, str)
    candidates = _candidates(speaker_of, across_speakers)
    if not candidates.all():
        raise InputError(
            f"speakers: {(candidates == 0).sum()} of {len(candidates)} clips have no other clip "
            "to compare with; give more clips or more speakers."
        )
    own = group_sizes(emotion_of, speaker_of) if across_speakers else 1
    return float(np.mean((group_sizes(emotion_of) - own) / candidates))


def _candidates(speakers: np.ndarray, across_speakers: bool) -> np.ndarray:
    """Returns for each clip the number of its possible neighbours."""
    left_out = group_sizes(speakers) if across_speakers else np.ones(len(speakers), int)
    return len(speakers) - left_out


def _nearest(
    embeddings: np.ndarray, speakers: np.ndarray, count: int, across_speakers: bool
) -> Iterator[np.ndarray]:
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
        if across_speakers:
            similarity[speakers[rows, np.newaxis] == speakers] = -np.inf
        else:
            similarity[rows - start, rows] = -np.inf
        yield np.argsort(-similarity, axis=1, kind="stable")[:, :count]
