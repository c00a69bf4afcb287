"""A map of embeddings: similar clips lie near each other in the plane."""

import numpy as np

_FEWEST = 5  # fewer clips make no map
_PERPLEXITY = 30
_SAME_DIRECTION = 1e-9  # largest deviation of a coordinate that is rounding only


def draw_sample(clips: int, most: int, seed: int) -> np.ndarray:
    """Draws a sample of clips where there are too many.

    Args:
        clips: Number of clips.
        most: Largest size of the sample.
        seed: Seed of the draw.

    Returns:
        Sorted indices of clips, int64: all of them, or `most`.
    """
    if clips <= most:
        return np.arange(clips)
    return np.sort(np.random.default_rng(seed).choice(clips, most, replace=False))


def lay_out(vectors: np.ndarray, *, seed: int) -> np.ndarray | None:
    """Lays out vectors in the plane by t-SNE on their cosine distances.

    It runs in one thread, since several threads would give other sums from run to run. 500 vectors
    of 256 numbers take about 4 s, 5,000 a minute.

    Args:
        vectors: float, shape `(clips, width)`, without all-zero rows.
        seed: Seed of scikit-learn's t-SNE.

    Returns:
        float64, shape `(clips, 2)`; None for fewer than five clips, or where all vectors have the
        same direction.

    Example:
        >>> lay_out(np.random.default_rng(0).normal(size=(20, 3)), seed=0).shape
        (20, 2)
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if len(units) < _FEWEST or units.std(axis=0).max() < _SAME_DIRECTION:
        return None
    with threadpool_limits(limits=1):
        perplexity = min(_PERPLEXITY, (len(units) - 1) / 3)
        tsne = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed)
        return tsne.fit_transform(units).astype(np.float64)
