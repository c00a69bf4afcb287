import numpy as np
import pytest
from scipy.sparse import csr_array

from ser_nsl.audio.records import read_embeddings
from ser_nsl.corpora.labels import check_hidden
from ser_nsl.errors import InputError
from ser_nsl.graph.propagate import correct_and_smooth, propagate_labels


def closed_form(values, matrix, weight):
    """The limit of the steps: (1 - weight) (I - weight S)^-1 values."""
    return (1 - weight) * np.linalg.solve(np.eye(len(matrix)) - weight * matrix, values)


def test_it_is_correct_and_smooth():
    random = np.random.default_rng(0)
    weights = np.triu(random.uniform(size=(6, 6)), 1)
    weights += weights.T
    roots = 1 / np.sqrt(weights.sum(axis=1))
    matrix = roots[:, None] * weights * roots
    probabilities = random.dirichlet(np.ones(3), 6)
    labels = np.array([0, 2, -1, -1, 1, -1])

    found = correct_and_smooth(probabilities, labels, csr_array(matrix), 0.6)

    known = labels >= 0
    errors = np.where(known[:, None], np.eye(3)[labels] - probabilities, 0)
    spread = closed_form(errors, matrix, 0.6)
    scale = np.abs(errors[known]).sum(axis=1).mean() / np.abs(spread).sum(axis=1, keepdims=True)
    corrected = np.clip(probabilities + scale * spread, 0, None)
    corrected /= corrected.sum(axis=1, keepdims=True)
    corrected[known] = np.eye(3)[labels[known]]
    smooth = closed_form(corrected, matrix, 0.6)
    np.testing.assert_allclose(found, smooth / smooth.sum(axis=1, keepdims=True), atol=1e-6)


def test_clips_without_neighbours_keep_their_probabilities():
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9]])

    found = correct_and_smooth(probabilities, np.array([1, -1, -1]), csr_array((3, 3)), 0.8)

    np.testing.assert_allclose(found, [[0, 1], [0.4, 0.6], [0.1, 0.9]], atol=1e-9)


@pytest.fixture
def inputs(make_manifest, write_embeddings, write_graph):
    """Two groups of clips, each with one label; the probabilities say nothing."""
    emotions = dict(zip("abcdef", ["joy", "joy", "joy", "sorrow", "sorrow", "sorrow"], strict=True))
    known = {name: emotions[name] if name in "ad" else "" for name in emotions}
    return {
        "manifest": make_manifest({name: {"emotion": known[name]} for name in known}),
        "embeddings": write_embeddings({name: np.full(2, 0.5, np.float32) for name in known}),
        "graph": write_graph("a b 0.9", "b c 0.9", "d e 0.8", "e f 0.8"),
    }


def test_labels_reach_the_clips_of_their_group(inputs, tmp_path):
    made = propagate_labels(**inputs, out=tmp_path / "out")

    found = read_embeddings(tmp_path / "out", ["train"])
    assert {name: int(vector.argmax()) for name, vector in found.items()} == {
        **dict.fromkeys("abc", 0),
        **dict.fromkeys("def", 1),
    }
    assert all(vector.sum() == pytest.approx(1, abs=1e-6) for vector in found.values())
    assert made.counts == {"clips": 6, "labels": 2, "changed": 3}


def test_labels_of_validation_clips_are_carried_where_they_train(
    inputs, write_embeddings, tmp_path
):
    """The sad group validates."""
    for split, names in (("train", "abc"), ("val", "def")):
        given = {name: np.full(2, 0.5, np.float32) for name in names}
        folder = write_embeddings(given, split=split)
    joined = inputs | {"embeddings": folder}
    made = propagate_labels(**joined, out=tmp_path / "out", splits=("train", "val"))

    for split, names, emotion in (("train", "abc", 0), ("val", "def", 1)):
        found = read_embeddings(tmp_path / "out", [split])
        assert {each: vector.argmax() for each, vector in found.items()} == dict.fromkeys(
            names, emotion
        )
    assert made.counts == {"clips": 6, "labels": 2, "changed": 3}
    with pytest.raises(InputError, match="splits: .*test"):
        propagate_labels(**joined, out=tmp_path / "none", splits=("train", "test"))


def test_labels_that_a_graph_carried_do_not_pass_for_hidden(inputs, tmp_path):
    """The probabilities knew few labels, the graph carried all."""
    propagate_labels(**inputs, out=tmp_path / "out", label_share=1.0)

    check_hidden(tmp_path / "out", 1.0, 0, argument="embeddings")
    with pytest.raises(InputError, match="for which a graph carried 100% of the labels"):
        check_hidden(tmp_path / "out", 0.25, 0, argument="embeddings")


def test_what_does_not_fit_is_refused(inputs, write_embeddings, write_graph, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="weight: must be from 0 to below 1; received 1"):
        propagate_labels(**inputs, out=out, weight=1.0)
    stranger = inputs | {"graph": write_graph("a x 0.9")}
    with pytest.raises(InputError, match=r"some are not in .*\(1; first: x\)"):
        propagate_labels(**stranger, out=out)
    three = write_embeddings({name: np.full(3, 1 / 3, np.float32) for name in "abcdef"})
    with pytest.raises(InputError, match="one probability for each of 2 emotions .* received 3"):
        propagate_labels(**inputs | {"embeddings": three}, out=out)
    assert not out.exists()
