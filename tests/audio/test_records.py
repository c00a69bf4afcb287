import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.records import (
    UNLABELLED,
    ShardWriter,
    embedding_example,
    example_id,
    feature_example,
    has_split,
    parsed,
    read_embeddings,
    read_examples,
    read_labels,
    read_logmels,
    shard_paths,
    whole_examples,
)
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

SHAPE = (3, 2)
IDS = ["a", "b", "çà", "d", "e"]


def logmel(i: int) -> np.ndarray:
    return (np.arange(6, dtype=np.float32) + 10 * i).reshape(SHAPE)


def write(folder: Path, examples, *, split: str = "train", shards: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, split, shards) as writer:
        for example in examples:
            writer.write(example)
    assert writer.written == len(examples)
    return folder


@pytest.fixture
def features(tmp_path) -> Path:
    """Five clips, the last without a label."""
    labels = [2, 0, 1, 0, UNLABELLED]
    examples = [feature_example(IDS[i], logmel(i), labels[i]) for i in range(5)]
    return write(tmp_path / "features", examples)


def embedded(*vectors, first: int = 0) -> list[tf.train.Example]:
    return [
        embedding_example(f"clip{first + i}", np.array(vector, np.float32))
        for i, vector in enumerate(vectors)
    ]


def test_examples_have_the_features_that_nsl_reads():
    example = feature_example("çà", logmel(1), 4).features.feature
    assert example["id"].bytes_list.value == ["çà".encode()]
    assert example["logmel"].float_list.value == [10, 11, 12, 13, 14, 15]
    assert example["label"].int64_list.value == [4]
    assert set(example) == {"id", "logmel", "label"}

    example = embedding_example("a", np.array([0.5, -1], np.float32)).features.feature
    assert example["embedding"].float_list.value == [0.5, -1]
    assert set(example) == {"id", "embedding"}

    example = embedding_example("a", np.array([1], np.float32), "0123:fc1").features.feature
    assert example["upstream"].bytes_list.value == [b"0123:fc1"]


def test_shards_are_filled_in_turn(features):
    names = [path.name for path in shard_paths(features, "train")]
    assert names == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]

    ids = [
        [example_id(e) for e in read_examples([path])] for path in shard_paths(features, "train")
    ]
    assert ids == [["a", "çà", "e"], ["b", "d"]]


def test_features_of_an_example_are_written_in_one_order(tmp_path):
    """Without it, bytes differ between processes."""
    example = feature_example("a", logmel(0), 0)
    names = [f"feature{i:02d}" for i in range(30)]
    for name in reversed(names):
        example.features.feature[name].int64_list.value.append(0)
    (path,) = shard_paths(write(tmp_path / "f", [example], shards=1), "train")
    data = path.read_bytes()

    places = [data.index(name.encode()) for name in names]
    assert places == sorted(places)


def test_same_examples_same_bytes(features, tmp_path):
    examples = [feature_example(f"{i}", logmel(i), i) for i in range(20)]
    first, second = write(tmp_path / "1", examples), write(tmp_path / "2", examples)

    for path in shard_paths(first, "train"):
        assert path.read_bytes() == (second / path.name).read_bytes()


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


def test_missing_split_is_an_error(features):
    assert has_split(features, "train")
    assert not has_split(features, "val")
    with pytest.raises(InputError, match=r"features: .*'val'"):
        shard_paths(features, "val")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "train-00000-of-00002.tfrecord").unlink(),
        lambda folder: (folder / "train-00002-of-00002.tfrecord").touch(),
        lambda folder: (folder / "train-copy-of-mine.tfrecord").touch(),
        lambda folder: (folder / "train-00001-of-00002.tfrecord").rename(
            folder / "train-00005-of-00002.tfrecord"
        ),
    ],
)
def test_incomplete_shards_are_an_error(spoil, features):
    spoil(features)

    with pytest.raises(InputError, match=r"features: .*'train' are not complete"):
        read_labels(features, "train")


@pytest.mark.parametrize("shards", [0, -1, 100_000])
def test_number_of_shards_has_bounds(shards, tmp_path):
    with pytest.raises(InputError, match=rf"shards: .*1 to 99,999; received {shards}"):
        ShardWriter(tmp_path, "train", shards)


@pytest.mark.parametrize(
    ("cuts", "whole"),
    # Seven clips of 62 bytes with their frames: clips 0, 3, 6 in the first shard, 1, 4; 2, 5.
    [((0, 0, 0), 7), ((1, 0, 0), 6), ((0, 1, 0), 4), ((70, 0, 0), 3), ((0, 0, 124), 2)],
)
def test_writer_goes_on_after_a_kill(cuts, whole, tmp_path):
    examples = embedded(*([i, i] for i in range(7)))
    expected = write(tmp_path / "whole", examples, shards=3)
    killed = write(tmp_path / "killed", examples, shards=3)
    for path, cut in zip(shard_paths(killed, "train"), cuts, strict=True):
        assert path.stat().st_size % 62 == 0
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])

    assert whole_examples(killed, "train", 3) == whole
    with ShardWriter(killed, "train", 3, keep=whole - 1) as writer:
        for example in examples[whole - 1 :]:
            writer.write(example)

    assert writer.written == 7
    assert sorted(path.name for path in killed.iterdir()) == [
        path.name for path in shard_paths(expected, "train")
    ]
    for path in shard_paths(expected, "train"):
        assert (killed / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("renamed", [0, 1])
def test_kill_while_going_on_loses_nothing(renamed, tmp_path, monkeypatch):
    folder = write(tmp_path / "e", embedded(*([i, i] for i in range(5))))
    done = []

    def rename(self, target):
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(self.replace(target))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            ShardWriter(folder, "train", 2, keep=4)
    assert whole_examples(folder, "train", 2) == 5 - renamed

    with ShardWriter(folder, "train", 2, keep=4) as writer:
        writer.write(*embedded([4, 4], first=4))
    expected = write(tmp_path / "whole", embedded(*([i, i] for i in range(5))))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in expected.iterdir()
    }


def test_flushed_examples_outlive_the_process(tmp_path):
    assert whole_examples(tmp_path, "train", 2) == 0
    with ShardWriter(tmp_path, "train", 2) as writer:
        for example in embedded([1], [2], [3]):
            writer.write(example)
        writer.flush()
        assert whole_examples(tmp_path, "train", 2) == 3


def flip_bit(data: bytes, byte: int) -> bytes:
    return data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 3],
        lambda data: data[:-3],
        lambda data: flip_bit(data, 3),
        lambda data: flip_bit(data, 20),
    ],
)
def test_damaged_file_is_an_error(damage, features):
    path = features / "train-00001-of-00002.tfrecord"
    path.write_bytes(damage(path.read_bytes()))

    for read in (read_labels, lambda *given: list(read_examples(shard_paths(*given)))):
        with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord: .*damaged"):
            read(features, "train")


@pytest.mark.parametrize("whole", [0, 1, 2])
@pytest.mark.parametrize("rest", [*range(1, 12)])
def test_cut_within_the_length_of_a_record_is_an_error(whole, rest, features):
    """TensorFlow reads such a file to its last whole record, without complaint."""
    path = features / "train-00001-of-00002.tfrecord"
    data = path.read_bytes()
    path.write_bytes(data[: whole * len(data) // 2 + rest] if whole < 2 else data + data[:rest])

    for read in (read_labels, lambda *given: list(read_examples(shard_paths(*given)))):
        with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord: .*cut off"):
            read(features, "train")


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_cut_between_records_is_an_error_where_a_stage_has_written_them(kept, features, tmp_path):
    @stage(inputs=(), makes="folder")
    def copy(*, out: Path) -> dict:
        shutil.copytree(features, out, dirs_exist_ok=True)
        return {}

    copy(out=tmp_path / "made")
    path = tmp_path / "made" / "train-00001-of-00002.tfrecord"
    assert len(read_labels(path.parent, "train")) == 5
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])

    for read in (read_labels, shard_paths):
        with pytest.raises(InputError, match=rf"\({int(kept * len(data))} bytes, but {len(data)}"):
            read(path.parent, "train")


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


def test_id_that_is_no_text_is_an_error(tmp_path):
    example = feature_example("a", logmel(0), 0)
    example.features.feature["id"].bytes_list.value[0] = b"\xff"

    with pytest.raises(InputError, match=r"ids must be UTF-8; received b'\\xff'"):
        read_labels(write(tmp_path / "f", [example]), "train")


def test_record_that_is_no_example_is_an_error(tmp_path):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff not an example")

    with pytest.raises(InputError, match=r"tfrecord: .*damaged"):
        read_labels(tmp_path, "train")


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.tfrecord"):
        list(read_examples([tmp_path / "none.tfrecord"]))


@pytest.mark.parametrize("ids", [["a", "b", "a"], ["a", "a"], ["a", ""]])
def test_duplicate_and_missing_ids_are_errors(ids, tmp_path):
    folder = write(tmp_path / "f", [feature_example(i, logmel(0), 0) for i in ids])

    with pytest.raises(InputError, match=rf"f/train-.*'{ids[-1]}' .*duplicate"):
        read_labels(folder, "train")


def test_example_without_an_id():
    assert example_id(tf.train.Example()) == ""


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
