"""Differences of speakers, few enough to count flips and resamples on paper."""

import numpy as np
import pytest

from ser_nsl.evaluation.statistics import (
    bootstrap_interval,
    holm,
    holm_of_groups,
    mcnemar_test,
    ratio_interval,
    sign_flip_test,
    smallest_p,
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


def test_folds_are_tested_though_there_are_few():
    assert sign_flip_test([1, 2, 3, 4, 5], fewest=2) == pytest.approx(2 / 32) == smallest_p(5)
    assert sign_flip_test([1], fewest=2) is None


def test_interval_of_a_ratio_draws_both_parts_of_a_speaker():
    wholes = [1.0, 3.0, 2.0, 1.0, 3.0, 2.0]

    assert ratio_interval([0.5 * each for each in wholes], wholes) == pytest.approx((0.5, 0.5))
    # One of six closes all of the distance: 0 to three draws of that speaker in the middle 95 %.
    assert ratio_interval([1, 0, 0, 0, 0, 0], [1] * 6) == pytest.approx((0, 0.5))
    assert ratio_interval([1] * 6, [5, -1, -1, -1, -1, 1]) is None  # the distance may be zero
    assert ratio_interval([1] * 5, [1] * 5) is None


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
    assert holm_of_groups([[0.01, 0.04], [], [0.03]]) == [
        pytest.approx([0.03, 0.06]),
        [],
        pytest.approx([0.06]),
    ]


def test_interval_of_uar_pools_clips_of_speakers():
    right, wrong = [[2, 0], [0, 2]], [[2, 0], [2, 0]]

    assert uar_interval(np.array([right] * 6)) == (1.0, 1.0)
    assert uar_interval(np.array([right] * 5)) is None
    # Of six speakers one loses a class: as the bootstrap of means above, halved.
    low, high = uar_interval(np.array([right] * 5 + [wrong]))
    assert (low, high) == (pytest.approx(0.75), 1.0)
    # A class that no drawn speaker has is left out, as in UAR.
    assert uar_interval(np.array([[[1, 0], [0, 0]]] * 6)) == (1.0, 1.0)
