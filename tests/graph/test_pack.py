import neural_structured_learning as nsl
import numpy as np
import pytest
from neural_structured_learning.tools import graph_utils

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, embedding_example, example_id, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.errors import InputError
from ser_nsl.graph.pack import pack_neighbors

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

FORMS = pytest.mark.parametrize("form", ["official", "indexed"])


def test_each_labelled_clip_gets_its_nearest_neighbours(write_features, write_graph, tmp_path):
    out = tmp_path / "training"

    result = pack_neighbors(
        features=write_features(CLIPS),
        graph=write_graph(*EDGES),
        out=out,
        max_neighbors=3,
        form="official",
    )

    packed = {
        example_id(example): example.features.feature
        for example in read_examples(shard_paths(out, "train"))
    }
    assert packed.keys() == EXPECTED.keys()
    for utterance_id, neighbors in EXPECTED.items():
        feature = packed[utterance_id]
        value, label = CLIPS[utterance_id]
        assert feature["label"].int64_list.value == [label]
        assert feature["logmel"].float_list.value == [value] * 6
        assert feature["NL_num_nbrs"].int64_list.value == [len(neighbors)]
        for i, (neighbor, weight) in enumerate(neighbors):
            assert feature[f"NL_nbr_{i}_id"].bytes_list.value == [neighbor.encode()]
            assert feature[f"NL_nbr_{i}_logmel"].float_list.value == [CLIPS[neighbor][0]] * 6
            assert feature[f"NL_nbr_{i}_weight"].float_list.value == pytest.approx([weight])
    assert result.counts == {
        "form": "official",
        "labelled": 5,
        "unlabelled": 1,
        "clips_by_neighbors": {0: 1, 1: 1, 2: 2, 3: 1},
    }


@FORMS
def test_shards_of_a_graph_pack_as_one_file(form, write_features, write_graph, tmp_path):
    features, graph = write_features(CLIPS), write_graph(*EDGES)
    lines = graph.read_text().splitlines(keepends=True)
    shards = tmp_path / "graph"
    shards.mkdir()
    (shards / "graph-00000-of-00002.tsv").write_text("".join(lines[3:]))
    (shards / "graph-00001-of-00002.tsv").write_text("".join(lines[:3]))

    settings = {"features": features, "form": form}
    whole = pack_neighbors(graph=graph, out=tmp_path / "whole", **settings)
    parts = pack_neighbors(graph=shards, out=tmp_path / "parts", **settings)

    assert parts.counts == whole.counts
    for path in (tmp_path / "whole").glob("train-*"):
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()


def test_fewer_neighbours_are_the_most_similar(write_features, write_graph, tmp_path):
    out = tmp_path / "training"
    pack_neighbors(
        features=write_features(CLIPS),
        graph=write_graph(*EDGES),
        out=out,
        max_neighbors=1,
        form="official",
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
    graph = write_graph(*EDGES)
    pack_neighbors(features=features, graph=graph, out=out, shards=2, form="official")

    assert {path.name for path in out.iterdir()} == {
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "description.json",
        "stage.json",
    }
    ids = [
        [example_id(example) for example in read_examples([path])]
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
    with pytest.raises(InputError, match=r"graph\.tsv: .* not in .*\(train\).* b\b"):
        pack_neighbors(features=features, graph=graph, out=tmp_path / "training")


def test_both_forms_have_the_same_counts(write_features, write_graph, tmp_path):
    arguments = {"features": write_features(CLIPS), "graph": write_graph(*EDGES)}
    counts = [
        pack_neighbors(**arguments, out=tmp_path / form, form=form).counts
        for form in ("official", "indexed")
    ]

    assert counts[1] == counts[0] | {"form": "indexed"}
    for form in ("official", "indexed"):
        assert Description.load(tmp_path / form) == Description.load(arguments["features"])


@pytest.mark.parametrize(
    ("clips", "hidden", "form"), [(2_000, 0, "official"), (2_001, 0, "indexed"), (3, 1, "indexed")]
)
def test_auto_is_official_for_small_corpora_with_all_labels(
    clips, hidden, form, write_features, write_graph, tmp_path
):
    labels = [UNLABELLED] * hidden + [1] * (clips - hidden)
    features = write_features({f"{i:04}": (i, label) for i, label in enumerate(labels)})

    result = pack_neighbors(features=features, graph=write_graph("0000 0001"), out=tmp_path / "out")

    assert result.counts["form"] == form
    assert any((tmp_path / "out").glob("*.npy")) == (form == "indexed")


@pytest.fixture
def refuses(tmp_path):
    """Returns a function that asserts an error and that what lay there before still lies there."""

    def refuses(message: str, **arguments) -> None:
        out = tmp_path / "training"
        out.mkdir()
        (out / "stage.json").write_text("earlier")
        with pytest.raises(InputError, match=message):
            pack_neighbors(**arguments, out=out)
        assert {path.name: path.read_text() for path in out.iterdir()} == {"stage.json": "earlier"}
        assert not list(tmp_path.glob(".training*"))

    return refuses


@FORMS
def test_clip_in_two_splits_is_refused(form, write_features, write_graph, refuses):
    write_features({"a": (1.0, 0), "b": (2.0, 1)})
    features = write_features({"b": (2.0, 1)}, split="val")

    refuses(
        r"val-.*\.tfrecord: the id 'b' ",
        features=features,
        graph=write_graph("a b 0.9"),
        form=form,
        splits=("train", "val"),
    )


@FORMS
@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (("a y 1", "z w 1", "x a 1", "a b 1"), r".* not in .*features \(train\).*4; .* w, x, y\b"),
        ((), "has no edge"),
        (("a b 1", "a b c d"), "line 2 "),
        (("a b 1", "d d 0.9", "u u"), r"line 2 .* different clips; received 'd.td.t0.9"),
        (("a b 1", "a d -0.1"), r"line 2 .* above 0.* received 'a.td.t-0.1"),
    ],
)
def test_graph_that_does_not_fit_is_refused(
    edges, message, form, write_features, write_graph, refuses
):
    refuses(
        rf"graph\.tsv: {message}",
        features=write_features(CLIPS),
        graph=write_graph(*edges),
        form=form,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_neighbors": 0}, "max_neighbors: .* received 0"),
        ({"splits": ("train", "test")}, "splits: the test split"),
        ({"form": "indexed", "shards": 0}, "shards: .* received 0"),
        ({"form": "official", "shards": 0}, "shards: .* received 0"),
    ],
)
def test_settings_have_bounds(settings, message, write_features, write_graph, refuses):
    refuses(message, features=write_features(CLIPS), graph=write_graph(*EDGES), **settings)


@FORMS
def test_cut_records_are_refused(form, write_features, write_graph, refuses):
    features = write_features(CLIPS)
    shard = max(features.glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])

    refuses(
        f"{shard.name}: is cut off or damaged",
        features=features,
        graph=write_graph(*EDGES),
        form=form,
    )


@FORMS
def test_features_of_another_length_are_refused(form, write_features, write_graph, refuses):
    features = write_features(CLIPS)
    with ShardWriter(features, "train", 2) as writer:
        for i, (utterance_id, (value, label)) in enumerate(CLIPS.items()):
            logmel = np.full(5 if i % 2 else 6, value, np.float32)
            writer.write(feature_example(utterance_id, logmel, label))

    refuses(
        r"train-00001-of-00002\.tfrecord: .* 2 x 3 numbers.* b, d, lonely\b",
        features=features,
        graph=write_graph(*EDGES),
        form=form,
    )


@FORMS
def test_folder_without_labels_is_refused(form, write_features, write_graph, refuses):
    features = write_features({})
    with ShardWriter(features, "train", 2) as writer:
        writer.write(embedding_example("a", np.ones(2, np.float32)))

    refuses(
        r"train-00000-of-00002\.tfrecord: .* label.* a\b",
        features=features,
        graph=write_graph("a b"),
        form=form,
    )


@pytest.mark.parametrize("fails", [False, True])
def test_official_module_is_left_as_it_was(
    fails, write_features, write_graph, tmp_path, monkeypatch
):
    before = dict(vars(graph_utils))
    arguments = {
        "features": write_features(CLIPS),
        "graph": write_graph(*EDGES),
        "form": "official",
    }
    if fails:
        monkeypatch.setattr(nsl.tools, "pack_nbrs", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pack_neighbors(**arguments, out=tmp_path / "training")
    else:
        pack_neighbors(**arguments, out=tmp_path / "training")

    assert vars(graph_utils) == before
