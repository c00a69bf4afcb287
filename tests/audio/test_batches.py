import pytest
import tensorflow as tf

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import feature_example
from ser_nsl.audio.records import read_labels
from ser_nsl.audio.shards import shard_paths
from ser_nsl.errors import InputError
from tests.audio.written import logmel, write


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
