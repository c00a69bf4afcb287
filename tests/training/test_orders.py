import numpy as np
import pytest

from ser_nsl.training.orders import epoch_order, shuffled

ROWS = np.array([4, 7, 8, 15, 16, 23, 42])


def epochs(count: int, length: int, *, seed: int = 3) -> list[np.ndarray]:
    return [
        epoch_order(shuffled(ROWS), epoch, clips=len(ROWS), length=length, seed=seed)
        for epoch in range(count)
    ]


@pytest.mark.parametrize("length", [1, 3, 7, 10, 14, 20])
def test_epochs_are_stretches_of_passes_that_hold_every_clip_once(length):
    series = np.concatenate(epochs(42, length))

    assert len(series) == 42 * length
    passes = series.reshape(-1, len(ROWS))  # 42 is a multiple of 7
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(ROWS, (len(passes), 1)))
    np.testing.assert_array_equal(series[:42], np.concatenate(epochs(6, len(ROWS))))


def test_an_epoch_does_not_depend_on_those_before():
    alone = epoch_order(shuffled(ROWS), 5, clips=len(ROWS), length=10, seed=3)

    np.testing.assert_array_equal(alone, epochs(6, 10)[5])
    assert alone.dtype == np.int64


def test_one_seed_one_series():
    one, again, other = (np.stack(epochs(3, 7, seed=seed)).tolist() for seed in (1, 1, 2))

    assert one == again != other
    assert one[0] != one[1] != one[2]


def test_only_the_passes_of_an_epoch_are_drawn():
    drawn = []

    def one_pass(random: np.random.Generator) -> np.ndarray:
        drawn.append(random)
        return random.permutation(ROWS)

    epoch_order(one_pass, 1_000_000, clips=len(ROWS), length=len(ROWS), seed=0)
    assert len(drawn) == 1
    epoch_order(one_pass, 1_000_000, clips=len(ROWS), length=2 * len(ROWS), seed=0)
    assert len(drawn) == 3
