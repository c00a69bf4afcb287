import numpy as np
import pytest

from ser_nsl.labels import known_labels

IDS = [f"clip{i:03}" for i in range(100)]
LABELS = np.array([0] * 60 + [1] * 30 + [2] * 3 + [-1] * 7)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_each_class_keeps_its_share_rounded_up(share):
    known = known_labels(IDS, LABELS, share, seed=0)

    assert [(known == label).sum() for label in range(3)] == [
        np.ceil(60 * share),
        np.ceil(30 * share),
        np.ceil(3 * share),
    ]
    assert set(known[known != LABELS]) <= {-1}


def test_order_of_clips_does_not_matter():
    order = np.random.default_rng(0).permutation(len(IDS))
    known = known_labels(IDS, LABELS, 0.3, seed=1)

    again = known_labels([IDS[i] for i in order], LABELS[order], 0.3, seed=1)

    np.testing.assert_array_equal(again, known[order])


def test_larger_share_keeps_what_a_smaller_one_keeps():
    few, many = (known_labels(IDS, LABELS, share, seed=2) for share in (0.1, 0.6))

    assert ((few == -1) | (few == many)).all()


def test_another_seed_draws_others():
    one, other = (known_labels(IDS, LABELS, 0.5, seed=seed) for seed in (0, 1))

    assert (one != other).any()
