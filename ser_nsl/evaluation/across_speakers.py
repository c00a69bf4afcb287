"""What a linear classifier reads from embeddings of speakers that it has not heard."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.corpora.labels import known_labels
from ser_nsl.evaluation.linear import linear_classifier

_MOST_FOLDS = 10


def uar_across_speakers(
    embeddings: np.ndarray,
    clips: pd.DataFrame,
    *,
    tested: Mapping[str, np.ndarray],
    label_share: float = 1.0,
    seed: int = 0,
) -> dict[str, float]:
    """Trains a linear classifier on some speakers and tests it on the others, until all are tested.

    Up to ten speakers are left out one by one, more of them in ten groups.

    Args:
        embeddings: float, shape `(clips, width)`.
        clips: Columns `utterance_id`, `speaker` and `emotion`, aligned with `embeddings`.
        tested: By name, embeddings of the same clips on which the classifier is tested, such as
            those of damaged recordings; same shape.
        label_share: Share of the other speakers' labels, in each emotion, that are used.
        seed: Seed of the choice of these labels.

    Returns:
        By the same names, unweighted average recall over all clips, 0 to 1.

    Example:
        >>> embeddings = np.array([[0.0], [1.0], [0.1], [0.9]])
        >>> clips = pd.DataFrame(
        ...     {"utterance_id": [*"1234"], "speaker": [*"aabb"], "emotion": ["joy", "fear"] * 2}
        ... )
        >>> uar_across_speakers(
        ...     embeddings, clips, tested={"same": embeddings, "swapped": 1 - embeddings}
        ... )
        {'same': 1.0, 'swapped': 0.0}
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import GroupKFold

    labels = clips["emotion"].astype("category").cat.codes.to_numpy(np.int64)
    predicted = {name: np.empty_like(labels) for name in tested}
    folds = GroupKFold(min(_MOST_FOLDS, clips["speaker"].nunique()))
    for train, test in folds.split(labels, groups=clips["speaker"]):
        known = known_labels(clips["utterance_id"].iloc[train], labels[train], label_share, seed)
        rows = train[known != UNLABELLED]
        seen = np.unique(labels[rows])
        classifier = linear_classifier()
        if len(seen) > 1:
            classifier.fit(embeddings[rows], labels[rows])
        for name, values in tested.items():
            predicted[name][test] = classifier.predict(values[test]) if len(seen) > 1 else seen[0]
    return {
        name: float(balanced_accuracy_score(labels, found)) for name, found in predicted.items()
    }


def standardised_by_speaker(embeddings: np.ndarray, clips: pd.DataFrame) -> np.ndarray:
    """Subtracts each speaker's mean and divides by each speaker's deviation.

    Args:
        embeddings: float, shape `(clips, width)`.
        clips: Column `speaker`, aligned with `embeddings`.

    Returns:
        Same dtype and shape; columns that do not vary for a speaker are 0 there.

    Example:
        >>> one_speaker = pd.DataFrame({"speaker": ["a", "a"]})
        >>> standardised_by_speaker(np.array([[1.0, 5], [3, 5]]), one_speaker)
        array([[-1.,  0.],
               [ 1.,  0.]])
    """
    from sklearn.preprocessing import StandardScaler

    result = np.zeros_like(embeddings)
    for rows in clips.groupby("speaker").indices.values():
        result[rows] = StandardScaler().fit_transform(embeddings[rows])
    return result
