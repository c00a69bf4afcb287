"""A similarity threshold for the embeddings at hand, from how many neighbours a clip shall have."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ser_nsl.errors import InputError
from ser_nsl.graph.exact import blocks, cosines_in_float32, float32_slack, true_entries
from ser_nsl.graph.vectors import Vectors

_ALL = 10_000  # up to so many clips, all are looked at
_SAMPLE = 1_000  # of more clips, so many
_LAST_BITS = 1e-12  # sums of products may differ in these from one machine to another


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold, and what it means for the clips from which it was chosen.

    Attributes:
        threshold: Least cosine of an edge.
        degrees: How many neighbours each of these clips has with it, shape `(clips,)`.
    """

    threshold: float
    degrees: np.ndarray

    @property
    def clips_by_degree(self) -> dict[str, int]:
        """Histogram of the degrees: 0, 1, 2-3, 4-7 and so on."""
        bins = np.frexp(self.degrees.astype(np.float64))[1]
        return {_name(each): int((bins == each).sum()) for each in range(bins.max() + 1)}


def _name(exponent: int) -> str:
    first, last = 2**exponent // 2, 2**exponent - 1
    return str(last) if first >= last else f"{first}-{last}"


def choose_threshold(
    vectors: Vectors, target_degree: float, *, seed: int = 12345
) -> ThresholdChoice:
    """Finds the threshold at which clips have a wished number of neighbours on average.

    It is exact up to 10,000 clips; of more, 1,000 drawn at random are compared with all.

    Args:
        vectors: Of the clips.
        target_degree: Mean number of neighbours, above 0 and below the number of clips.
        seed: Of the draw.

    Returns:
        The threshold, just below the cosine of the last pair that shall be an edge; equally
        similar pairs can make the mean degree larger than wished.

    Raises:
        InputError: If so many neighbours cannot be, or not even one pair would be an edge.
    """
    clips = len(vectors)
    sample = np.arange(clips)
    if clips > _ALL:
        draw = np.random.default_rng(seed).choice(clips, _SAMPLE, replace=False)
        sample = np.sort(draw)
    count = round(target_degree * len(sample)) if 0 < target_degree <= clips - 1 else 0
    if not count:
        raise InputError(
            f"target_degree: must be above 0, at most one less than the {clips} clips, and leave "
            f"an edge; received {target_degree}."
        )
    sources, threshold = _most_similar(vectors, sample, count)
    return ThresholdChoice(
        min(max(threshold, -1.0), 1.0), np.bincount(sources, minlength=len(sample))
    )


def _most_similar(vectors: Vectors, sample: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """The so many most similar pairs of a sampled and any other clip, and those of equal rank.

    Returns:
        Place of each pair's clip in the sample, and what the cosines of the pairs reach.
    """
    slack = float32_slack(vectors)
    units = vectors.units(sample)
    sources, cosines = np.empty(0, int), np.empty(0)
    least = -1 - slack
    for columns in tqdm(blocks(len(vectors)), desc="choosing a threshold", unit="block"):
        product = cosines_in_float32(units, vectors.units(columns)).copy()
        own = (columns.start <= sample) & (sample < columns.stop)
        product[own, sample[own] - columns.start] = -np.inf
        if count <= product.size:
            least = max(least, np.partition(product, -count, axis=None)[-count] - slack)
        near, partners = true_entries(product >= least - slack)
        found = vectors.cosines(sample[near], columns.start + partners)
        sources, cosines = np.concatenate([sources, near]), np.concatenate([cosines, found])
        if len(cosines) >= count:
            least = max(least, np.partition(cosines, -count)[-count] - _LAST_BITS)
            sources, cosines = sources[cosines >= least], cosines[cosines >= least]
    return sources, float(least)
