import numpy as np
import pytest
from neural_structured_learning.tools import graph_utils

from ser_nsl.errors import InputError
from ser_nsl.features import Description
from ser_nsl.graph.pack import nsl, pack_neighbors
from ser_nsl.records import parsed, read_examples, shard_paths

# By id: the number that fills the clip, and the label (-1: none).
CLIPS = {
    "a": (1.0, 0),
    "b": (2.0, 1),
    "c": (3.0, 0),
    "d": (4.0, 1),
    "u": (5.0, -1),
    "lonely": (6.0, 1),
}

# One direction only: a's neighbours are u (0.99), c (0.95), then d and b (0.9 both).
EDGES = ("a b 0.9", "d a 0.9", "a c 0.95", "a u 0.99", "c u 0.5", "u d 0.25", "a d 0.1")

# By labelled id: its neighbours and their weights, the three most similar first.
EXPECTED = {
    "a": [("u", 0.99), ("c", 0.95), ("d", 0.9)],
    "b": [("a", 0.9)],
    "c": [("a", 0.95), ("u", 0.5)],
    "d": [("a", 0.9), ("u", 0.25)],
    "lonely": [],
}


def test_each_labelled_clip_gets_its_nearest_neighbours(write_features, write_graph, tmp_path):
    out = tmp_path / "training"

    result = pack_neighbors(
        features=write_features(CLIPS), graph=write_graph(*EDGES), out=out, max_neighbors=3
    )

    packed = {
        clip["id"].decode(): clip
        for clip in parsed(shard_paths(out, "train"), (2, 3), neighbors=3).as_numpy_iterator()
    }
    assert packed.keys() == EXPECTED.keys()
    for utterance_id, neighbors in EXPECTED.items():
        clip = packed[utterance_id]
        value, label = CLIPS[utterance_id]
        assert clip["label"] == label
        np.testing.assert_array_equal(clip["logmel"], np.full((2, 3), value))
        missing = [(utterance_id, 0.0)] * (3 - len(neighbors))  # the clip stands in for them
        for i, (neighbor, weight) in enumerate(neighbors + missing):
            content = CLIPS[neighbor][0]
            np.testing.assert_array_equal(clip[f"NL_nbr_{i}_logmel"], np.full((2, 3), content))
            np.testing.assert_allclose(clip[f"NL_nbr_{i}_weight"], [weight], rtol=1e-6)
    assert result.counts == {
        "labelled": 5,
        "unlabelled": 1,
        "clips_by_neighbors": {0: 1, 1: 1, 2: 2, 3: 1},
    }


def test_fewer_neighbours_are_the_most_similar(write_features, write_graph, tmp_path):
    out = tmp_path / "training"
    pack_neighbors(
        features=write_features(CLIPS), graph=write_graph(*EDGES), out=out, max_neighbors=1
    )

    nearest = {}
    for example in read_examples(shard_paths(out, "train")):
        feature = example.features.feature
        assert "NL_nbr_1_id" not in feature
        nearest[feature["id"].bytes_list.value[0].decode()] = [
            value.decode() for value in feature["NL_nbr_0_id"].bytes_list.value
        ]
    assert nearest == {
        utterance_id: [neighbor for neighbor, _ in neighbors[:1]]
        for utterance_id, neighbors in EXPECTED.items()
    }


def test_shards_hold_every_clip_once(write_features, write_graph, tmp_path):
    features, out = write_features(CLIPS), tmp_path / "training"
    pack_neighbors(features=features, graph=write_graph(*EDGES), out=out, shards=2)

    assert {path.name for path in out.iterdir()} == {
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "description.json",
        "stage.json",
    }
    ids = [
        [clip["id"].decode() for clip in parsed([path], (2, 3)).as_numpy_iterator()]
        for path in shard_paths(out, "train")
    ]
    assert [len(shard) for shard in ids] == [3, 2]
    assert sorted(ids[0] + ids[1]) == sorted(EXPECTED)
    assert Description.load(out) == Description.load(features)


def test_splits_are_joined(write_features, write_graph, tmp_path):
    write_features({"a": (1.0, 0)})
    features = write_features({"b": (2.0, 1)}, split="val")
    graph = write_graph("a b 0.9")

    result = pack_neighbors(
        features=features, graph=graph, out=tmp_path / "training", splits=("train", "val")
    )

    assert result.counts["clips_by_neighbors"] == {1: 2}
    with pytest.raises(InputError, match=r"1 of its 2 clips .* \(train\) \(first: b\)"):
        pack_neighbors(features=features, graph=graph, out=tmp_path / "training")


def test_clip_in_two_splits_is_refused(write_features, write_graph, tmp_path):
    write_features({"a": (1.0, 0), "b": (2.0, 1)})
    features = write_features({"b": (2.0, 1)}, split="val")

    with pytest.raises(InputError, match="the id 'b' is missing or doubled"):
        pack_neighbors(
            features=features,
            graph=write_graph("a b 0.9"),
            out=tmp_path / "training",
            splits=("train", "val"),
        )


def test_graph_of_another_corpus_is_refused(write_features, write_graph, tmp_path):
    graph = write_graph("a y 1", "z w 1", "x a 1", "a b 1")

    with pytest.raises(InputError, match=r"graph\.tsv: 4 of its 6 clips .*\(first: w, x, y\)"):
        pack_neighbors(features=write_features(CLIPS), graph=graph, out=tmp_path / "training")
    assert not (tmp_path / "training").exists()


def test_graph_without_edges_is_refused(write_features, write_graph, tmp_path):
    with pytest.raises(InputError, match=r"has no edge; .* --similarity-threshold"):
        pack_neighbors(
            features=write_features(CLIPS), graph=write_graph(), out=tmp_path / "training"
        )


def test_no_neighbours_are_refused(write_features, write_graph, tmp_path):
    with pytest.raises(InputError, match="max_neighbors: must be at least 1; received 0"):
        pack_neighbors(
            features=write_features(CLIPS),
            graph=write_graph(*EDGES),
            out=tmp_path / "training",
            max_neighbors=0,
        )


def test_cut_records_are_refused(write_features, write_graph, tmp_path):
    features = write_features(CLIPS)
    shard = max(features.glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])

    with pytest.raises(InputError, match=f"{shard.name}: is cut off or damaged"):
        pack_neighbors(features=features, graph=write_graph(*EDGES), out=tmp_path / "training")


@pytest.mark.parametrize("fails", [False, True])
def test_official_module_is_left_as_it_was(
    fails, write_features, write_graph, tmp_path, monkeypatch
):
    before = dict(vars(graph_utils))
    arguments = {"features": write_features(CLIPS), "graph": write_graph(*EDGES)}
    if fails:
        monkeypatch.setattr(nsl.tools, "pack_nbrs", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pack_neighbors(**arguments, out=tmp_path / "training")
    else:
        pack_neighbors(**arguments, out=tmp_path / "training")

    assert vars(graph_utils) == before
