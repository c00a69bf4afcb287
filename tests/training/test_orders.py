import numpy as np
import pytest

from ser_nsl.training.orders import epoch_order, neighborhood_order, shuffled

ROWS = np.array([4, 7, 8, 15, 16, 23, 42])


def epochs(count: int, length: int, *, seed: int = 3) -> list[np.ndarray]:
    return [
        epoch_order(shuffled(ROWS), epoch, clips=len(ROWS), length=length, seed=seed)
        for epoch in range(count)
    ]


@pytest.mark.parametrize("length", [1, 3, 7, 10, 20])
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


# Neighbourhoods


BATCH = 16


def draw(neighbors, weights=None, *, group: int = 4, seed: int = 0) -> np.ndarray:
    neighbors = np.asarray(neighbors)
    weights = np.ones(neighbors.shape) if weights is None else np.asarray(weights)
    return neighborhood_order(neighbors, weights, np.random.default_rng(seed), group=group)


def clusters(count: int, size: int) -> np.ndarray:
    """Neighbours of clips of which each is linked with all others of its cluster."""
    clips = np.arange(count * size)
    others = (clips[:, np.newaxis] % size + np.arange(1, size)) % size
    return clips[:, np.newaxis] // size * size + others


def edges_in_batches(neighbors: np.ndarray, order: np.ndarray) -> float:
    """Share of the edges whose ends meet."""
    batch = np.empty(len(order), int)
    batch[order] = np.arange(len(order)) // BATCH
    return np.mean(batch[neighbors] == batch[:, np.newaxis])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group", [1, 4, 100])
def test_every_clip_once_on_random_graphs(group, seed):
    random = np.random.default_rng(seed)
    clips, count = int(random.integers(1, 60)), int(random.integers(0, 5))
    neighbors = random.integers(0, clips, (clips, count))
    weights = random.choice([0.0, 0.5, 1.0], (clips, count))

    order = draw(neighbors, weights, group=group, seed=seed)

    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(clips))


def test_neighbours_meet_far_more_often_than_by_chance():
    neighbors = clusters(20, 8)
    chance = np.random.default_rng(0).permutation(len(neighbors))

    met = edges_in_batches(neighbors, draw(neighbors))

    # A group of four holds 3 of 7 neighbours of each of its clips; by chance a batch holds 15/159.
    assert met >= 3 / 7
    assert met > 4 * edges_in_batches(neighbors, chance)


def test_a_batch_is_a_mix_of_neighbourhoods():
    order = draw(clusters(20, 8))

    for batch in order.reshape(-1, BATCH):
        groups = batch.reshape(-1, 4) // 8
        assert (groups == groups[:, :1]).all()
    mixed = [len(np.unique(batch // 8)) for batch in order.reshape(-1, BATCH)]
    assert np.mean(mixed) > 3.5


def test_neighbours_of_neighbours_fill_a_group():
    """On a ring a clip has two neighbours, so a group of six is a stretch around it."""
    ring = (np.arange(6)[:, np.newaxis] + [1, 5]) % 6
    order = draw(np.concatenate([ring, 6 + ring]), group=6)

    assert {tuple(sorted(each)) for each in order.reshape(2, 6).tolist()} == {
        (0, 1, 2, 3, 4, 5),
        (6, 7, 8, 9, 10, 11),
    }


def test_no_weight_no_neighbour():
    neighbors, weights = [[1], [0], [3], [2]], [[1.0], [1.0], [0.0], [0.0]]
    orders = [draw(neighbors, weights, group=2, seed=seed).tolist() for seed in range(200)]

    assert all(abs(order.index(0) - order.index(1)) == 1 for order in orders)
    assert any(abs(order.index(2) - order.index(3)) > 1 for order in orders)


def test_those_left_over_do_not_wait_for_the_end():
    """Of each cluster of five, one clip is left over when its group of four is full."""
    places = []
    for seed in range(20):
        cluster = draw(clusters(40, 5), seed=seed) // 5
        same = np.append(cluster[1:] == cluster[:-1], False)
        places.append(np.flatnonzero(~same & ~np.roll(same, 1)).mean() / len(cluster))

    assert np.mean(places) == pytest.approx(0.5, abs=0.04)
