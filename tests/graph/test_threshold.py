import numpy as np
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph import exact, threshold
from ser_nsl.graph.exact import find_edges
from ser_nsl.graph.threshold import choose_threshold
from ser_nsl.graph.vectors import Vectors


def make_vectors(clips: int, copies: int = 1) -> Vectors:
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(0.5, 1, (clips // copies, 12)), copies, axis=0)
    values = values.astype(np.float32)
    ids = [f"{i:05}" for i in range(clips)]
    return Vectors(ids, values, np.linalg.norm(values.astype(float), axis=1))


@pytest.mark.parametrize("degree", [0.1, 4.0, 50.5, 299.0])
def test_the_mean_degree_is_as_wished(degree, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK", 64)
    vectors = make_vectors(300)

    choice = choose_threshold(vectors, degree)

    edges = find_edges(vectors, choice.threshold)
    assert len(edges) == pytest.approx(degree * 300, abs=1)
    assert edges.weights.min() - choice.threshold < 2e-12
    degrees = np.bincount(edges.sources, minlength=300)
    np.testing.assert_array_equal(choice.degrees, degrees)


def test_equal_pairs_come_in_together():
    vectors = make_vectors(300, copies=3)

    choice = choose_threshold(vectors, 0.5)

    assert choice.threshold == pytest.approx(1)
    assert (choice.degrees == 2).all()
    assert len(find_edges(vectors, choice.threshold)) == 600


def test_a_sample_of_many_clips_comes_close(monkeypatch):
    monkeypatch.setattr(threshold, "_ALL", 1_000)
    monkeypatch.setattr(threshold, "_SAMPLE", 500)
    vectors = make_vectors(4_000)

    choice = choose_threshold(vectors, 20.0, seed=1)

    assert len(choice.degrees) == 500
    assert choice.degrees.sum() == 20 * 500
    assert len(find_edges(vectors, choice.threshold)) / 4_000 == pytest.approx(20, rel=0.2)
    assert choose_threshold(vectors, 20.0, seed=1).threshold == choice.threshold
    assert choose_threshold(vectors, 20.0, seed=2).threshold != choice.threshold


def test_histogram_of_degrees():
    degrees = np.array([0, 0, 1, 2, 3, 4, 7, 8, 17])

    assert threshold.ThresholdChoice(0.9, degrees).clips_by_degree == {
        "0": 2,
        "1": 1,
        "2-3": 2,
        "4-7": 2,
        "8-15": 1,
        "16-31": 1,
    }


@pytest.mark.parametrize("degree", [-1.0, 0.0, 0.001, 29.5, float("nan")])
def test_impossible_degrees_are_refused(degree):
    with pytest.raises(InputError, match=f"target_degree: .* 30 clips, .* received {degree}"):
        choose_threshold(make_vectors(30), degree)
