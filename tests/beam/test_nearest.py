"""The combiner that keeps the nearest neighbours."""

import numpy as np
import pytest

pytest.importorskip("apache_beam")

from ser_nsl.beam.nearest import NearestFn
from ser_nsl.graph.table import Edges


def neighbors_of_one_clip(random: np.random.Generator) -> list[tuple[float, str]]:
    """Up to forty neighbours in random order, with many equal weights."""
    count = random.integers(1, 40)
    weights = random.choice([0.5, 0.9, 0.999999, 1.0, -0.25, 0.0], count)
    return list(zip(weights.tolist(), map(str, random.permutation(count)), strict=True))


def combine(neighbors, limit: int | None, random: np.random.Generator) -> list[tuple[float, str]]:
    """Divides neighbours among workers at random, and merges what they keep in a random tree."""
    combiner = NearestFn(limit)
    workers = random.integers(random.integers(1, 6), size=len(neighbors))
    kept = []
    for worker in range(6):
        accumulator = combiner.create_accumulator()
        for i in np.flatnonzero(workers == worker):
            accumulator = combiner.add_input(accumulator, neighbors[i])
        kept.append(accumulator)
    while len(kept) > 1:
        random.shuffle(kept)
        size = random.integers(2, 4)
        kept = [combiner.merge_accumulators(kept[:size]), *kept[size:]]
    return combiner.extract_output(kept[0])


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("limit", [1, 3, None])
def test_any_order_of_merging_keeps_the_same(seed, limit):
    random = np.random.default_rng(seed)
    neighbors = neighbors_of_one_clip(random)

    expected = sorted(neighbors, reverse=True)[:limit]
    assert combine(neighbors, limit, random) == expected
    assert combine(neighbors[::-1], limit, random) == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_are_those_of_the_table(seed):
    random = np.random.default_rng(seed)
    neighbors = neighbors_of_one_clip(random)
    ids = sorted(name for _, name in neighbors)
    edges = Edges(
        np.zeros(len(neighbors), np.int32),
        np.array([ids.index(name) for _, name in neighbors], np.int32),
        np.array([weight for weight, _ in neighbors]),
    ).nearest(3)

    kept = combine(neighbors, 3, random)

    assert kept == [
        (weight, ids[target]) for target, weight in zip(edges.targets, edges.weights, strict=True)
    ]


def test_no_more_than_the_nearest_travel():
    combiner = NearestFn(3)
    accumulator = combiner.create_accumulator()
    for i in range(100):
        accumulator = combiner.add_input(accumulator, (i / 100, str(i)))
        assert len(accumulator) == min(i + 1, 3)
