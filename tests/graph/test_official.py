"""Records of NSL's own packer are read as the same training data as ours."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, example_id
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.errors import InputError
from ser_nsl.graph.indexed import open_indexed
from ser_nsl.graph.linked import LinkedClips
from ser_nsl.graph.official import open_official
from ser_nsl.graph.pack import pack_neighbors

SHAPE = (2, 3)

# By id: the number that fills the clip, and the label (-1: none).
CLIPS = {
    "a": (1.0, 0),
    "ü": (2.0, UNLABELLED),
    "b": (3.0, 1),
    "c": (4.0, 0),
    "far": (5.0, UNLABELLED),
    "lonely": (6.0, 1),
}
EDGES = ("a b 0.9", "a ü 0.8", "a c 0.7", "b ü 0.95", "ü far 0.6")

# Neighbours and weights by id, the nearest first. NSL's packer writes those of labelled clips only.
NEIGHBORS = {
    "a": [("b", 0.9), ("ü", 0.8), ("c", 0.7)],
    "b": [("ü", 0.95), ("a", 0.9)],
    "c": [("a", 0.7)],
    "lonely": [],
    "ü": [],
}


@pytest.fixture
def packed(write_features, write_graph, tmp_path) -> Path:
    out = tmp_path / "official"
    features, graph = write_features(CLIPS), write_graph(*EDGES)
    pack_neighbors(features=features, graph=graph, out=out, form="official", shards=2)
    return out


def opened(folder: Path, neighbors: int | None = 3) -> LinkedClips:
    return open_official(folder, ("train",), SHAPE, neighbors=neighbors)


def rewritten(folder: Path, change) -> Path:
    """The records with the first one, of `a`, changed."""
    examples = [*read_examples(shard_paths(folder, "train"))]
    change(next(example for example in examples if example_id(example) == "a").features.feature)
    out = folder / "changed"
    out.mkdir()
    with ShardWriter(out, "train", 1) as writer:
        for example in examples:
            writer.write(example)
    return out


@pytest.mark.parametrize("neighbors", [0, 1, 2, 3, 9, None])
def test_every_clip_once_with_the_rows_of_its_neighbours(neighbors, packed):
    clips = opened(packed, neighbors)

    width = 3 if neighbors is None else neighbors  # `a` has three
    assert clips.rows.shape == (len(clips.ids), 1 + width)
    reached = {key for found in NEIGHBORS.values() for key, _ in found[:width]}
    labelled = {key for key, (_, label) in CLIPS.items() if label != UNLABELLED}
    assert sorted(clips.ids) == sorted(labelled | reached)
    for row, key in enumerate(clips.ids):
        near = NEIGHBORS[key][:width]
        missing = [(key, 0)] * (width - len(near))
        assert clips.rows[row, 0] == row
        assert [clips.ids[i] for i in clips.rows[row, 1:]] == [k for k, _ in near + missing]
        np.testing.assert_allclose(clips.weights[row], [weight for _, weight in near + missing])
        assert clips.labels[row] == CLIPS[key][1]
    assert sum(map(len, clips.logmels)) == len(clips.ids)


def test_features_are_those_of_the_clips(packed):
    clips = opened(packed)
    rows = tf.data.Dataset.from_tensor_slices(np.arange(len(clips.ids))[::-1]).batch(2)

    seen = []
    for element in clips.at(rows).unbatch().as_numpy_iterator():
        key = element["id"].decode()
        others = [other for other, _ in NEIGHBORS[key]]
        expected = [key, *others, *[key] * (3 - len(others))]
        names = ["logmel", *(f"NL_nbr_{i}_logmel" for i in range(3))]
        for name, other in zip(names, expected, strict=True):
            np.testing.assert_array_equal(element[name], np.full(SHAPE, CLIPS[other][0]))
        seen.append(key)
    assert seen == clips.ids[::-1]


@pytest.mark.parametrize("seed", range(3))
def test_labelled_clips_as_in_the_indexed_form(seed, write_features, write_graph, tmp_path):
    random = np.random.default_rng(seed)
    ids = [f"clip{i:02}" for i in range(40)]
    clips = {key: (i, random.integers(UNLABELLED, 2)) for i, key in enumerate(ids)}
    pairs = [random.choice(40, 2, replace=False) for _ in range(150)]
    graph = write_graph(*(f"{ids[a]} {ids[b]} {random.random():.6f}" for a, b in pairs))
    for form in ("official", "indexed"):
        out, features = tmp_path / form, write_features(clips)
        pack_neighbors(features=features, graph=graph, out=out, form=form, max_neighbors=4)

    official = opened(tmp_path / "official", None)
    indexed = open_indexed(tmp_path / "indexed", ("train",), SHAPE, neighbors=None)

    edges = []
    for clips in (official, indexed):
        linked = clips.linked(tf.data.Dataset.from_tensor_slices(clips.labelled))
        edges.append(
            [
                (
                    element["id"],
                    element["label"],
                    element["logmel"].tolist(),
                    [clips.ids[row] for row in element["NL_nbr_rows"]],
                    element["NL_nbr_weights"].tolist(),
                )
                for element in linked.as_numpy_iterator()
            ]
        )
    assert edges[0] == edges[1] != []


def test_features_without_neighbours_are_those_of_labelled_clips(write_features):
    clips = open_official(write_features(CLIPS), ("train",), SHAPE)

    assert sorted(clips.ids) == ["a", "b", "c", "lonely"]
    assert clips.weights.shape == (4, 0)


@pytest.mark.parametrize("name", ["id", "weight", "logmel"])
def test_neighbours_that_are_not_whole_are_refused(name, packed):
    folder = rewritten(packed, lambda feature: feature.pop(f"NL_nbr_1_{name}"))

    assert len(opened(folder, 1).ids) > 0  # the first neighbour is whole
    with pytest.raises(InputError, match=r"train-.*tfrecord: .* id, weight .* a\b"):
        opened(folder, 2)


@pytest.mark.parametrize("weight", [0.0, -0.5, np.nan, np.inf])
def test_weights_that_do_not_pull_are_refused(weight, packed):
    def spoil(feature):
        feature["NL_nbr_1_weight"].float_list.value[:] = [weight]

    folder = rewritten(packed, spoil)

    with pytest.raises(InputError, match=r"train-.*tfrecord: .* weight above 0.* a\b"):
        opened(folder, 2)


def test_of_several_ids_the_first_counts(packed):
    def add_ids(feature):
        for name, values in feature.items():
            if name.endswith("id"):
                values.bytes_list.value.append(b"another")

    folder = rewritten(packed, add_ids)

    found, expected = opened(folder), opened(packed)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_neighbours_of_another_size_are_refused(packed):
    folder = rewritten(packed, lambda feature: feature["NL_nbr_0_logmel"].float_list.value.pop())

    with pytest.raises(InputError, match=r"train-.*tfrecord: .* 2 x 3 numbers.* a\b"):
        opened(folder)
