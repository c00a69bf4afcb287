import numpy as np
import pytest

from ser_nsl.graph import approximate
from ser_nsl.graph.approximate import estimate_recall, find_edges_in_cells
from ser_nsl.graph.exact import find_edges
from ser_nsl.graph.table import Edges
from ser_nsl.graph.vectors import Vectors


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """About ten of a kind, and what they have in common."""
    random = np.random.default_rng(0)
    values = random.normal(0.3, 1, (300, 32))[random.integers(300, size=3_000)]
    values = (values + 0.25 * random.normal(size=values.shape)).astype(np.float32)
    ids = [f"{i:04}" for i in range(len(values))]
    return Vectors(ids, values, np.linalg.norm(values.astype(float), axis=1))


def pairs(edges: Edges) -> list[tuple[int, int]]:
    return list(zip(edges.sources.tolist(), edges.targets.tolist(), strict=True))


@pytest.mark.parametrize("limit", [None, 4])
def test_finds_most_pairs_and_no_wrong_ones(limit, vectors):
    true = find_edges(vectors, 0.9, max_neighbors=limit)
    found = find_edges_in_cells(vectors, 0.9, max_neighbors=limit)

    assert pairs(found) == sorted(set(pairs(found)))
    hits = len(set(pairs(found)) & set(pairs(true)))
    assert 0.97 < hits / len(true) <= 1
    if limit is None:
        assert set(pairs(found)) <= set(pairs(true))
    else:
        assert np.bincount(found.sources).max() == limit
    np.testing.assert_array_equal(found.weights, vectors.cosines(found.sources, found.targets))


def test_more_cells_find_more(vectors):
    one, two = (find_edges_in_cells(vectors, 0.8, cells_per_clip=cells) for cells in (1, 2))

    assert len(one) < 0.95 * len(two)


def test_the_seed_decides(vectors):
    first, again, other = (
        pairs(find_edges_in_cells(vectors, 0.8, cells_per_clip=1, seed=seed)) for seed in (1, 1, 2)
    )

    assert first == again != other


def test_merging_early_changes_nothing(vectors, monkeypatch):
    late = find_edges_in_cells(vectors, 0.9, max_neighbors=3)
    monkeypatch.setattr(approximate, "_PENDING", 10)

    assert pairs(find_edges_in_cells(vectors, 0.9, max_neighbors=3)) == pairs(late)


@pytest.mark.parametrize("limit", [None, 4])
def test_recall_of_all_clips_is_the_share_of_edges_found(limit, vectors, monkeypatch):
    monkeypatch.setattr(approximate, "_SAMPLE", 10_000)
    true = find_edges(vectors, 0.9, max_neighbors=limit)
    found = true[np.arange(len(true)) % 4 != 0]

    recall, clips = estimate_recall(vectors, found, 0.9, max_neighbors=limit)

    assert recall == len(found) / len(true)
    assert clips == 3_000


def test_recall_of_a_sample_is_close(vectors):
    found = find_edges_in_cells(vectors, 0.8, cells_per_clip=1)
    true = find_edges(vectors, 0.8)

    recall, clips = estimate_recall(vectors, found, 0.8)

    assert recall == pytest.approx(len(found) / len(true), abs=0.03)
    assert recall < 0.95
    assert clips == 1_000


@pytest.mark.parametrize("sharpness", [8, 40, np.inf])
def test_saturated_probabilities_leave_no_cell_empty(sharpness):
    """Most vectors are alike to rounding, as those of a probe that is sure of itself."""
    scores = np.random.default_rng(0).normal(size=(2_000, 7))
    scores -= scores.max(axis=1, keepdims=True)
    values = (np.exp(sharpness * scores) if sharpness < np.inf else scores == 0).astype(np.float32)
    ids = [f"{i:04}" for i in range(len(values))]
    saturated = Vectors(ids, values, np.linalg.norm(values.astype(float), axis=1))

    cells = approximate._cells(saturated, 6, 12345)
    edges = find_edges_in_cells(saturated, 0.5, max_neighbors=3)
    recall, _ = estimate_recall(saturated, edges, 0.5, max_neighbors=3)

    assert min(map(len, cells)) > 0
    assert np.unique(np.concatenate(cells)).tolist() == list(range(2_000))
    assert recall > 0.99
    assert len(edges) > 5_900


def test_without_edges_there_is_no_recall(vectors):
    assert estimate_recall(vectors, Edges.join([]), 1.0)[0] is None


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_few_clips_are_all_compared(clips, vectors):
    few = vectors.take(np.arange(clips))

    found = find_edges_in_cells(few, -1.0)

    assert len(found) == clips * (clips - 1)
