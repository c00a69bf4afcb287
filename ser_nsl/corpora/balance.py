"""The default split: speakers divided so that each split gets its share of clips and emotions."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ser_nsl.corpora.settings import SPLITS

_STARTS = 20  # random divisions that are improved; the best one is taken
_STARTED_SPEAKERS = 1_000  # in all of them together: with many speakers each one is good
_LEAST_TRAINING = 0.5  # share of the clips, where a few large speakers would leave less
_IMPORTANCE = (1.0, 0.5, 2.0)  # of emotions, genders, and all clips
_UNWANTED = 1_000.0  # outweighs any imbalance, which is at most 7
_NOTHING = 1e-9  # what sums of shares leave of zero


def balanced_splits(
    table: pd.DataFrame, *, test_share: float, val_share: float, seed: int
) -> dict[str, str]:
    """Divides speakers so that splits get their shares of all clips, emotions and genders.

    Every emotion is trained, and training keeps at least half of the clips, or what is asked for
    if that is less, wherever speakers allow it. `StratifiedGroupKFold` knows equal shares only, and
    may let the largest speaker test: here random divisions are improved by moving one speaker at a
    time, and the best of them is taken.

    Args:
        table: Columns `speaker`, `gender` and `emotion` of each clip; three speakers or more.
        test_share: Share of the clips to test, 0 to 1.
        val_share: Share of the other clips to validate, 0 to 1.
        seed: Seed of the first divisions. The order of the clips does not matter, and of equally
            good divisions the first is taken, on every machine.

    Returns:
        From each speaker to `train`, `val` or `test`; none of the three is empty.

    Example:
        >>> rows = pd.DataFrame({"speaker": [*"aaaabbc"], "gender": "", "emotion": "joy"})
        >>> balanced_splits(rows, test_share=0.25, val_share=0.25, seed=0)
        {'a': 'train', 'b': 'test', 'c': 'val'}
    """
    speakers = sorted({*table["speaker"]})
    emotions = pd.crosstab(table["speaker"], table["emotion"])
    genders = pd.crosstab(table["speaker"], table["gender"])
    views = (emotions, genders, emotions.sum(axis=1).to_frame())
    clips = np.hstack(views).astype(float)  # rows are sorted by speaker, as `speakers`
    clips /= clips.sum(axis=0)
    pairs = zip(views, _IMPORTANCE, strict=True)
    weights = np.concatenate([np.full(view.shape[1], by / view.shape[1]) for view, by in pairs])
    to_train = np.flatnonzero(emotions.columns != "")
    val = (1 - test_share) * val_share
    wanted = np.array([1 - test_share - val, val, test_share])

    def cost(shares: np.ndarray) -> float:
        imbalance = ((shares - wanted[:, np.newaxis]) ** 2 @ weights).sum()
        all_clips = shares[:, -1]
        empty = (all_clips < _NOTHING).sum()
        untrained = (shares[0, to_train] < _NOTHING).sum()
        lacking = max(0.0, min(_LEAST_TRAINING, wanted[0]) - all_clips[0])
        return imbalance + _UNWANTED * (_UNWANTED * empty + untrained + lacking)

    random = np.random.default_rng(seed)
    starts = max(1, min(_STARTS, _STARTED_SPEAKERS // len(speakers)))
    least, best = _improve(random.choice(len(SPLITS), len(speakers), p=wanted), clips, cost)
    for _ in range(starts - 1):
        found = _improve(random.choice(len(SPLITS), len(speakers), p=wanted), clips, cost)
        if found[0] < least - _NOTHING:  # of equal ones the first, whatever the processor rounds
            least, best = found
    return {speaker: SPLITS[place] for speaker, place in zip(speakers, best, strict=True)}


def _improve(
    places: np.ndarray, clips: np.ndarray, cost: Callable[[np.ndarray], float]
) -> tuple[float, np.ndarray]:
    """Moves one speaker after the other to another split, as long as that lowers the cost."""
    shares = np.eye(len(SPLITS))[places].T @ clips
    least, moved = cost(shares), True
    while moved:
        moved = False
        for speaker, own in enumerate(clips):
            for place in range(len(SPLITS)):
                other = shares.copy()
                other[places[speaker]] -= own
                other[place] += own
                changed = cost(other)
                if changed < least - _NOTHING:
                    places[speaker], shares, least, moved = place, other, changed, True
    return least, places
