import numpy as np
import pytest

from ser_nsl.audio.examples import UNLABELLED, embedding_example, feature_example
from ser_nsl.audio.records import parsed, read_embeddings, read_labels, read_logmels
from ser_nsl.audio.shards import shard_paths
from ser_nsl.errors import InputError
from tests.audio.written import IDS, SHAPE, embedded, logmel, write


def test_labels_by_id_in_the_order_of_the_records(features):
    labels = read_labels(features, "train")

    assert labels == {"a": 2, "b": 0, "çà": 1, "d": 0, "e": UNLABELLED}
    assert list(labels) == ["a", "çà", "e", "b", "d"]
    clips = list(parsed(shard_paths(features, "train"), SHAPE).as_numpy_iterator())
    assert [clip["id"].decode() for clip in clips] == list(labels)
    assert [clip["label"] for clip in clips] == list(labels.values())
    for clip in clips:
        assert clip["logmel"].dtype == np.float32
        np.testing.assert_array_equal(clip["logmel"], logmel(IDS.index(clip["id"].decode())))


@pytest.mark.parametrize("label", [3, 99, -2])
def test_label_without_a_class_is_an_error(label, tmp_path):
    examples = [feature_example(i, logmel(0), n) for i, n in (("a", 2), ("b", label), ("c", -1))]
    folder = write(tmp_path / "f", examples)
    (folder / "description.json").write_text('{"classes": ["anger", "joy", "sadness"]}')

    with pytest.raises(InputError, match=r"below the number of classes, 3.*\(first: b\)"):
        read_labels(folder, "train")


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e6])
def test_logmel_out_of_all_proportion_is_an_error(value, tmp_path):
    loud = logmel(1)
    loud[2, 1] = value
    folder = write(
        tmp_path / "f", [feature_example(*c) for c in (("a", logmel(0), 0), ("b", loud, 0))]
    )

    with pytest.raises(InputError, match=r"log Mel must be finite and below .*\(first: b\)"):
        list(read_logmels(shard_paths(folder, "train"), SHAPE))


def test_embeddings_are_not_taken_for_features(tmp_path):
    folder = write(tmp_path / "embeddings", embedded([1, 2]))

    with pytest.raises(InputError, match=r"embeddings/train-.* label.*clip0"):
        read_labels(folder, "train")


def test_embeddings_by_id_over_splits(tmp_path):
    folder = write(tmp_path / "e", embedded([1, 2], [3, 4]), shards=1)
    write(folder, embedded([5, 6], first=2), split="val")

    embeddings = read_embeddings(folder, ("train", "val"))

    assert {key: list(vector) for key, vector in embeddings.items()} == {
        "clip0": [1, 2],
        "clip1": [3, 4],
        "clip2": [5, 6],
    }
    assert embeddings["clip0"].dtype == np.float32
    assert list(read_embeddings(folder, ("val",))) == ["clip2"]


@pytest.mark.parametrize(
    ("vectors", "rule"),
    [
        (([1, 2], [1, 2, 3]), r"width, here 2.*\(first: clip1\)"),
        (([],), r"width, here 0.*\(first: clip0\)"),
        (([1, 2], [1, np.nan]), r"finite.*\(first: clip1\)"),
        (([np.inf, 1],), r"finite.*\(first: clip0\)"),
        (([-1e6, 1],), r"below 1,000,000.*\(first: clip0\)"),
    ],
)
def test_bad_embeddings_are_errors(vectors, rule, tmp_path):
    folder = write(tmp_path / "e", embedded(*vectors), shards=1)

    with pytest.raises(InputError, match=rf"{folder}/train-.*{rule}"):
        read_embeddings(folder, ("train",))


@pytest.mark.parametrize("names", [("12:fc1", "34:fc1"), ("12:fc1", "12:layer0"), ("12:fc1", "")])
def test_embeddings_of_two_upstreams_are_not_mixed(names, tmp_path):
    for split, name in zip(("train", "val"), names, strict=True):
        vector = np.ones(2, np.float32)
        write(tmp_path / "e", [embedding_example(split, vector, name)], split=split)
    first, second = (name or "unknown" for name in names)

    with pytest.raises(InputError, match=rf"val-.*upstream.*here {first};.*\(first: val\)"):
        read_embeddings(tmp_path / "e", ("train", "val"))
    with pytest.raises(InputError, match=rf"train-.*upstream.*here {second};.*\(first: train\)"):
        read_embeddings(tmp_path / "e", ("val", "train"))
    assert list(read_embeddings(tmp_path / "e", ("val",))) == ["val"]


def test_clip_in_two_splits_is_an_error(tmp_path):
    folder = write(tmp_path / "e", embedded([1, 2]))
    write(folder, embedded([3, 4]), split="val")

    with pytest.raises(InputError, match="'clip0' .*duplicate"):
        read_embeddings(folder, ("train", "val"))
