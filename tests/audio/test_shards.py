import shutil
from pathlib import Path

import pytest

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import example_id, feature_example
from ser_nsl.audio.records import read_labels
from ser_nsl.audio.shards import ShardWriter, has_split, shard_paths, whole_examples
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage
from tests.audio.written import embedded, logmel, write


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
