import json

import numpy as np
import pytest

from ser_nsl.errors import InputError
from ser_nsl.labels import check_hidden, known_labels

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


@pytest.fixture
def records(tmp_path):
    """Training records, from a graph, from what a probe that knew half of the labels read."""
    made = [
        ("probed", "probe_embeddings", {"label_share": 0.5, "seed": 1}, {}),
        ("graph", "build_graph", {}, {"embeddings": "fused"}),
        ("fused", "fuse_embeddings", {}, {"embeddings": ["gone", "probed"]}),
        ("records", "pack_neighbors", {}, {"graph": "graph", "features": "gone"}),
    ]
    for name, stage, settings, paths in made:
        (tmp_path / name).mkdir()
        paths = {
            key: [str(tmp_path / each) for each in path]
            if isinstance(path, list)
            else str(tmp_path / path)
            for key, path in paths.items()
        }
        record = {"stage": stage, "settings": settings, "paths": paths}
        (tmp_path / name / "stage.json").write_text(json.dumps(record))
    return tmp_path / "records"


@pytest.mark.parametrize(("share", "seed"), [(0.5, 1), (0.7, 1), (1.0, 0)])
def test_what_a_probe_knew_may_be_known(records, share, seed):
    check_hidden(records, share, seed, argument="training_records")


@pytest.mark.parametrize(("share", "seed"), [(0.25, 1), (0.5, 0)])
def test_hidden_labels_that_a_probe_knew_are_refused(records, share, seed):
    with pytest.raises(
        InputError, match=r"training_records: .* comes from probed, whose probe knew 50% .*seed 1"
    ):
        check_hidden(records, share, seed, argument="training_records")
