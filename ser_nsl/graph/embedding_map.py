"""Embeddings laid out in the plane, so that likenesses can be looked at."""

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

_FEWEST = 5  # fewer clips make no map
_PERPLEXITY = 30
_START = 1e-4  # spread of the start, as scikit-learn has it


def draw_sample(clips: int, most: int, seed: int) -> np.ndarray:
    """Draws clips if there are too many.

    Args:
        clips: How many there are.
        most: How many shall be drawn at most.
        seed: Of the draw.

    Returns:
        Places of clips, rising: all, or `most` of them.
    """
    if clips <= most:
        return np.arange(clips)
    return np.sort(np.random.default_rng(seed).choice(clips, most, replace=False))


def lay_out(vectors: np.ndarray, *, seed: int) -> np.ndarray | None:
    """Lays out vectors by t-SNE on their cosine distances, from their principal components.

    One thread works, since sums of several would differ from run to run. It takes about 4 s for
    500 vectors of 256 numbers and a minute for 5,000.

    Args:
        vectors: float, shape `(clips, width)`, none all zero.
        seed: Of scikit-learn's t-SNE.

    Returns:
        float64, shape `(clips, 2)`; None for fewer than five clips, or where all point one way.
    """
    units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    with threadpool_limits(limits=1):
        start = _principal_components(units)
        if len(units) < _FEWEST or not start.any():
            return None
        tsne = TSNE(
            metric="cosine",
            init=start,
            perplexity=min(_PERPLEXITY, (len(units) - 1) / 3),
            random_state=seed,
        )
        return tsne.fit_transform(units).astype(np.float64)


def _principal_components(units: np.ndarray) -> np.ndarray:
    """The first two, float32, shape `(clips, 2)`; zeros where all units are one."""
    centred = units - units.mean(axis=0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    # An eigenvector's sign is arbitrary: let its largest number be positive.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(directions.shape[1])])
    start = np.zeros((len(units), 2), np.float32)
    spread = centred.std(axis=0).max()
    if spread > 1e-9:
        components = centred @ directions
        start[:, : components.shape[1]] = components / components[:, 0].std() * _START
    return start
