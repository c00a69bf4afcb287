"""Differences of speakers, few enough to count flips and resamples on paper."""

import numpy as np
import pytest

from ser_nsl.evaluation.scores import score
from ser_nsl.evaluation.statistics import (
    bootstrap_interval,
    holm,
    mcnemar_test,
    pool_folds,
    sign_flip_test,
    uar_interval,
)


def test_interval_of_the_bootstrap_over_speakers():
    # One of six speakers gains 0.5: of means over resamples, 0.5 / 6 times a binomial count, the
    # middle 95 % go from 0 to three draws of that speaker.
    assert bootstrap_interval([0.5, 0, 0, 0, 0, 0]) == pytest.approx((0, 0.25))
    assert bootstrap_interval([0.1] * 6) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    ("differences", "flips"),
    [
        ([1, 2, 3, 4, 5, 6], 2),  # all six up, or all down
        # Two of the 64 give a sum of 19 or more, two -19 or less.
        ([4, 4, 4, 4, 4, -1], 4),
        ([0] * 6, 64),
    ],
)
def test_flips_of_signs(differences, flips):
    assert sign_flip_test(differences) == pytest.approx(flips / 64)
    assert sign_flip_test(-np.array(differences)) == pytest.approx(flips / 64)


def test_neither_is_given_for_few_speakers():
    assert bootstrap_interval([1, 2, 3, 4, 5]) is None
    assert sign_flip_test([1, 2, 3, 4, 5]) is None


def test_pooled_scores_count_every_clip_once():
    once = [[[5, 5], [5, 5]]]
    better = [[[10, 0], [0, 10]]]

    assert pool_folds([once, better]) == {"clips": 40, "accuracy": 0.75, "uar": 0.75}
    assert pool_folds([once * 3, better * 2]) == pool_folds([once, better])


def test_pooled_scores_are_those_of_all_clips():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 2, 90), random.integers(0, 3, 90)  # class 2 has no clip
    classes = ("a", "b", "c")
    folds = [
        [score(labels[fold], predicted[fold], classes)["confusion_matrix"]]
        for fold in np.array_split(np.arange(90), 4)
    ]

    pooled = pool_folds(folds)

    expected = score(labels, predicted, classes)
    assert pooled == pytest.approx({name: expected[name] for name in pooled})


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        ("111111", "000000", 2 / 64),
        ("111110", "000001", 14 / 64),  # 5 or more of 6, either way
        ("110", "110", 1.0),
        ("", "", 1.0),
    ],
)
def test_mcnemar_counts_what_only_one_gets_right(ours, theirs, p):
    right = [[each == "1" for each in text] for text in (ours, theirs)]

    assert mcnemar_test(*right) == pytest.approx(p)
    assert mcnemar_test(*reversed(right)) == pytest.approx(p)


def test_holm():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([None]) == [None] and holm([]) == []
    assert holm([0.7, 0.8]) == [1.0, 1.0]


def test_interval_of_uar_pools_clips_of_speakers():
    right, wrong = [[2, 0], [0, 2]], [[2, 0], [2, 0]]

    assert uar_interval(np.array([right] * 6)) == (1.0, 1.0)
    assert uar_interval(np.array([right] * 5)) is None
    # Of six speakers one loses a class: as the bootstrap of means above, halved.
    low, high = uar_interval(np.array([right] * 5 + [wrong]))
    assert (low, high) == (pytest.approx(0.75), 1.0)
    # A class that no drawn speaker has is left out, as in UAR.
    assert uar_interval(np.array([[[1, 0], [0, 0]]] * 6)) == (1.0, 1.0)
