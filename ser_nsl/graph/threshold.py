"""A similarity threshold for given embeddings, chosen by the mean number of neighbours."""

from dataclasses import dataclass

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.graph.exact import blocks, float32_slack, screened_cosines, true_entries
from ser_nsl.graph.statistics import group_sizes
from ser_nsl.graph.vectors import Vectors
from ser_nsl.pipeline.bars import Bar

_ALL = 10_000  # most clips of which all are used
_SAMPLE = 1_000  # sample size for more clips than that
_LAST_BITS = 1e-12  # largest difference of a cosine between machines


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold, and the degrees of the clips from which it was chosen.

    Attributes:
        threshold: Least cosine of an edge.
        degrees: Numbers of neighbours of these clips, int, shape `(clips,)`.
    """

    threshold: float
    degrees: np.ndarray

    @property
    def clips_by_degree(self) -> dict[str, int]:
        """Histogram of the degrees: 0, 1, 2-3, 4-7 and so on."""
        bins = np.frexp(self.degrees.astype(np.float64))[1]
        return {_name(number): int((bins == number).sum()) for number in range(bins.max() + 1)}


def _name(exponent: int) -> str:
    first, last = 2**exponent // 2, 2**exponent - 1
    return str(last) if first >= last else f"{first}-{last}"


def choose_threshold(
    vectors: Vectors, target_degree: float, *, seed: int = 12345
) -> ThresholdChoice:
    """Finds the threshold at which clips have the target number of neighbours on average.

    It is exact up to 10,000 clips; above, 1,000 clips drawn at random are compared with all.

    Args:
        vectors: Embeddings of the clips.
        target_degree: Mean number of neighbours, above 0 and at most the mean number of clips with
            which a clip may be joined.
        seed: Seed of the draw.

    Returns:
        The threshold, just below the cosine of the last pair that becomes an edge; equally
        similar pairs can make the mean degree larger than the target.

    Raises:
        InputError: If `target_degree` is out of range, or too small for a single edge.
    """
    clips = len(vectors)
    sample = np.arange(clips)
    if clips > _ALL:
        draw = np.random.default_rng(seed).choice(clips, _SAMPLE, replace=False)
        sample = np.sort(draw)
    most = _partners(vectors)[sample].mean()
    count = round(target_degree * len(sample)) if 0 < target_degree <= most else 0
    if not count:
        raise InputError(
            f"target_degree: must be above 0, leave an edge, and be at most {most:g}, the mean "
            f"number of clips that one may be joined with, among {clips} clips, but received "
            f"{target_degree}; choose another."
        )
    sources, threshold = _most_similar(vectors, sample, count)
    return ThresholdChoice(
        min(max(threshold, -1.0), 1.0), np.bincount(sources, minlength=len(sample))
    )


def _partners(vectors: Vectors) -> np.ndarray:
    """Returns with how many clips each may be joined, int64, shape `(clips,)`."""
    everyone, alone = np.zeros(len(vectors), np.int32), np.arange(len(vectors), dtype=np.int32)
    emotions = everyone if vectors.emotions is None else vectors.emotions
    speakers = alone if vectors.speakers is None else vectors.speakers
    return group_sizes(emotions) - group_sizes(emotions, speakers)


def _most_similar(vectors: Vectors, sample: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Finds the `count` most similar pairs of a sampled and any other clip, ties included.

    Returns:
        For each pair the index of its clip in the sample; and the least cosine of the pairs.
    """
    slack = float32_slack(vectors)
    sources, cosines = np.empty(0, int), np.empty(0)
    least = -1 - slack
    for columns in Bar(blocks(len(vectors)), desc="choosing a threshold", unit="block"):
        product = screened_cosines(vectors, sample, columns)
        if count <= product.size:
            least = max(least, np.partition(product, -count, axis=None)[-count] - slack)
        near, partners = true_entries(product >= least - slack)
        found = vectors.cosines(sample[near], columns.start + partners)
        sources, cosines = np.concatenate([sources, near]), np.concatenate([cosines, found])
        if len(cosines) >= count:
            least = max(least, np.partition(cosines, -count)[-count] - _LAST_BITS)
            sources, cosines = sources[cosines >= least], cosines[cosines >= least]
    return sources, float(least)
