import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import UNLABELLED, example_id, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter, shard_paths
from ser_nsl.errors import InputError
from ser_nsl.graph.indexed import is_indexed, open_indexed
from ser_nsl.graph.pack import pack_neighbors

SHAPE = (2, 3)

# By id: the number that fills the clip, and the label (-1: none).
CLIPS = {
    "a": (1.0, 0),
    "ü": (2.0, -1),
    "b": (3.0, 1),
    "a10": (4.0, 0),
    "a9": (5.0, 1),
    "v": (6.0, -1),
    "lonely": (7.0, 1),
    "A": (8.0, 0),
    "z": (9.0, 1),
}

EDGES = (
    # Ties: to the last ids, in the order of code points.
    *(f"a {other} 0.5" for other in ("ü", "b", "a10", "a9", "v", "A")),
    *(f"{other} a 0.5" for other in ("ü", "b", "a10", "a9", "v", "A")),
    # One way only, and the nearest of all where there is a tie in six decimals.
    "z b 0.75",
    "b A 0.9000001",
    "b v 0.9",
    "b a10 0.9000002",
    # Doubled, and with another weight there and back.
    "a9 a10 0.2",
    "a9 a10 0.3",
    "a10 a9 0.1",
    "a9 v 0.1",
    "v a9 0.4",
    # A weight of next to nothing is not the lack of a neighbour; one that is not given is 1.
    "z A 1e-30",
    "z ü 0.25",
    "z a",
)


@pytest.fixture
def pack(write_features, write_graph, tmp_path):
    """Returns a function that packs the clips in one form and returns the folder."""

    def pack(form: str, *, clips=CLIPS, edges=EDGES, **settings) -> Path:
        arguments = {"features": write_features(clips), "graph": write_graph(*edges)}
        pack_neighbors(**arguments, out=tmp_path / form, form=form, **settings)
        return tmp_path / form

    return pack


def official(folder: Path, neighbors: int, shape: tuple[int, int] = SHAPE) -> tf.data.Dataset:
    """Reads what NSL's packer has written; the clip stands in for missing or weightless ones."""
    size = int(np.prod(shape))
    schema = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "logmel": tf.io.FixedLenFeature([size], tf.float32),
    }
    for i in range(neighbors):
        schema[f"NL_nbr_{i}_logmel"] = tf.io.VarLenFeature(tf.float32)
        schema[f"NL_nbr_{i}_weight"] = tf.io.FixedLenFeature([1], tf.float32, [0.0])

    def parse(raw: tf.Tensor) -> dict[str, tf.Tensor]:
        clip = tf.io.parse_single_example(raw, schema)
        for i in range(neighbors):
            counts = clip[f"NL_nbr_{i}_weight"][0] != 0
            copied = clip[f"NL_nbr_{i}_logmel"].values
            clip[f"NL_nbr_{i}_logmel"] = copied if counts else clip["logmel"]
        return {
            name: tf.reshape(value, shape) if name.endswith("logmel") else value
            for name, value in clip.items()
        }

    return tf.data.TFRecordDataset([str(path) for path in shard_paths(folder, "train")]).map(parse)


def indexed(folder: Path, neighbors: int, shape: tuple[int, int] = SHAPE) -> tf.data.Dataset:
    clips = open_indexed(folder, ("train",), shape, neighbors=neighbors)
    return clips.at(tf.data.Dataset.from_tensor_slices(clips.labelled))


def assert_equal(actual: tf.data.Dataset, expected: tf.data.Dataset) -> int:
    """Compares elements by keys, types and bits; returns their number."""
    assert actual.element_spec == expected.element_spec
    elements = [[*dataset.as_numpy_iterator()] for dataset in (actual, expected)]
    for one, other in zip(*elements, strict=True):
        for name, value in other.items():
            np.testing.assert_array_equal(one[name], value, err_msg=name)
    return len(elements[0])


@pytest.mark.parametrize(
    ("packed", "read", "shards"),
    [(1, 1, 1), (3, 3, 2), (9, 9, 3), (9, 2, 1), (2, 9, 2), (3, 0, 7), (9, 3, 8)],
)
def test_elements_are_those_of_official_records(packed, read, shards, pack):
    folders = [pack(form, max_neighbors=packed, shards=shards) for form in ("indexed", "official")]

    assert assert_equal(indexed(folders[0], read), official(folders[1], read)) == 7
    assert [is_indexed(shard_paths(folder, "train")) for folder in folders] == [True, False]


@pytest.mark.parametrize("seed", range(5))
def test_elements_are_those_of_official_records_on_random_graphs(seed, pack):
    random = np.random.default_rng(seed)
    ids = [f"{'aAüz'[i % 4]}{random.integers(100)}-{i}" for i in range(random.integers(2, 40))]
    labels = random.integers(UNLABELLED, 2, len(ids))
    labels[0] = 1
    clips = {key: (i, label) for i, (key, label) in enumerate(zip(ids, labels, strict=True))}
    weights = [*random.choice([0.1, 0.2, 0.9], 200), *random.uniform(0.001, 1, 100)]
    pairs = (random.choice(len(ids), 2, replace=False) for _ in weights)
    edges = [f"{ids[a]} {ids[b]} {weight}" for (a, b), weight in zip(pairs, weights, strict=True)]
    settings = {"max_neighbors": int(random.integers(1, 12)), "shards": int(random.integers(1, 5))}
    read, edges = int(random.integers(0, 12)), edges[: random.integers(1, 300)]

    folders = [pack(form, clips=clips, edges=edges, **settings) for form in ("indexed", "official")]

    assert assert_equal(indexed(folders[0], read), official(folders[1], read)) > 0


def test_batches_hold_the_same(pack):
    folder = pack("indexed", shards=3)
    clips = open_indexed(folder, ("train",), SHAPE, neighbors=4)
    rows = tf.data.Dataset.from_tensor_slices(np.array([8, 0, 3, 3, 5, 7, 1, 2]))

    assert assert_equal(clips.at(rows.batch(3)).unbatch(), clips.at(rows)) == 8


def test_splits_are_joined(write_features, write_graph, tmp_path):
    write_features(dict([*CLIPS.items()][::2]))
    arguments = {
        "features": write_features(dict([*CLIPS.items()][1::2]), split="val"),
        "graph": write_graph(*EDGES),
        "splits": ("train", "val"),
    }
    for form in ("indexed", "official"):
        pack_neighbors(**arguments, out=tmp_path / form, form=form)

    assert assert_equal(indexed(tmp_path / "indexed", 3), official(tmp_path / "official", 3)) == 7


def test_files_hold_every_clip_once(pack):
    folder = pack("indexed", max_neighbors=2, shards=2)

    assert {path.name for path in folder.iterdir()} == {
        "train-00000-of-00002.tfrecord",
        "train-00000-of-00002.npy",
        "train-00001-of-00002.tfrecord",
        "train-00001-of-00002.npy",
        "description.json",
        "stage.json",
    }
    found = {}
    for path in shard_paths(folder, "train"):
        logmels = np.load(path.with_suffix(".npy"))
        assert logmels.dtype == np.float32
        for example, logmel in zip(read_examples([path]), logmels, strict=True):
            utterance_id, feature = example_id(example), example.features.feature
            value, label = CLIPS[utterance_id]
            np.testing.assert_array_equal(logmel, np.full(SHAPE, value))
            assert feature["label"].int64_list.value == [label]
            found[utterance_id] = [
                (other.decode(), round(weight, 6))
                for other, weight in zip(
                    feature["neighbor_ids"].bytes_list.value,
                    feature["neighbor_weights"].float_list.value,
                    strict=True,
                )
            ]
    assert found == {
        "a": [("z", 1), ("ü", 0.5)],
        "b": [("a10", 0.9), ("A", 0.9)],
        "a10": [("b", 0.9), ("a", 0.5)],
        "a9": [("a", 0.5), ("v", 0.4)],
        "lonely": [],
        "A": [("b", 0.9), ("a", 0.5)],
        "z": [("a", 1), ("b", 0.75)],
        # Clips without a label have neighbours too.
        "ü": [("a", 0.5), ("z", 0.25)],
        "v": [("b", 0.9), ("a", 0.5)],
    }


def test_clips_without_a_label_can_be_fetched(pack):
    folder = pack("indexed")
    clips = open_indexed(folder, ("train",), SHAPE, neighbors=1)

    rows = np.flatnonzero(clips.labels == UNLABELLED)
    elements = [*clips.at(tf.data.Dataset.from_tensor_slices(rows)).as_numpy_iterator()]
    found = {clip["id"].decode(): clip["NL_nbr_0_logmel"][0, 0] for clip in elements}
    assert found == {"ü": CLIPS["a"][0], "v": CLIPS["b"][0]}


@pytest.mark.parametrize("batch", [None, 4])
def test_rows_of_neighbours_in_place_of_their_features(batch, pack):
    clips = open_indexed(pack("indexed", max_neighbors=2, shards=2), ("train",), SHAPE, neighbors=3)
    rows = tf.data.Dataset.from_tensor_slices(np.arange(len(CLIPS))[::-1])
    linked = clips.linked(rows.batch(batch)).unbatch() if batch else clips.linked(rows)

    for element in linked.as_numpy_iterator():
        utterance_id = element["id"].decode()
        value, label = CLIPS[utterance_id]
        assert clips.ids[element["NL_row"]] == utterance_id
        assert (element["logmel"] == value).all()
        assert element["label"] == label
        others = [clips.ids[row] for row in element["NL_nbr_rows"]]
        assert others[2] == utterance_id  # only two are packed
        assert element["NL_nbr_weights"][2] == 0
        if utterance_id == "a":
            assert others[:2] == ["z", "ü"]
            np.testing.assert_allclose(element["NL_nbr_weights"][:2], [1, 0.5])
        if utterance_id == "lonely":
            assert others == ["lonely"] * 3
            assert (element["NL_nbr_weights"] == 0).all()
    assert linked.element_spec == {
        "id": tf.TensorSpec((), tf.string),
        "label": tf.TensorSpec((), tf.int64),
        "logmel": tf.TensorSpec(SHAPE, tf.float32),
        "NL_row": tf.TensorSpec((), tf.int64),
        "NL_nbr_rows": tf.TensorSpec((3,), tf.int32),
        "NL_nbr_weights": tf.TensorSpec((3,), tf.float32),
    }


@pytest.mark.parametrize("packed", [1, 2, 9])
def test_as_many_neighbours_as_were_packed(packed, pack):
    folder = pack("indexed", max_neighbors=packed)
    clips = open_indexed(folder, ("train",), SHAPE, neighbors=None)

    most = min(packed, 7)  # `a` has seven
    expected = open_indexed(folder, ("train",), SHAPE, neighbors=most)
    assert clips.weights.shape == (len(CLIPS), most)
    np.testing.assert_array_equal(clips.rows, expected.rows)
    np.testing.assert_array_equal(clips.weights, expected.weights)


def test_as_many_neighbours_as_were_packed_may_be_none(tmp_path):
    with ShardWriter(tmp_path, "train", 1) as writer:
        for utterance_id in "ab":
            writer.write(feature_example(utterance_id, np.empty(0), 0))
    np.save(tmp_path / "train-00000-of-00001.npy", np.zeros((2, *SHAPE), np.float32))

    clips = open_indexed(tmp_path, ("train",), SHAPE, neighbors=None)

    assert clips.rows.tolist() == [[0], [1]]
    assert clips.weights.shape == (2, 0)


@pytest.mark.parametrize("neighbors", [0, 1, 2, 9])
def test_nearer_neighbours_close_the_gaps(neighbors, pack):
    clips = open_indexed(pack("indexed", max_neighbors=9), ("train",), SHAPE, neighbors=7)
    stays = np.random.default_rng(0).random(clips.weights.shape) < 0.5

    kept = clips.keeping(stays, neighbors)

    for row in range(len(CLIPS)):
        edges = [
            (other, weight)
            for other, weight, stay in zip(
                clips.rows[row, 1:], clips.weights[row], stays[row], strict=True
            )
            if stay and weight
        ][:neighbors]
        edges += [(row, 0)] * (neighbors - len(edges))
        assert kept.rows[row].tolist() == [row, *(other for other, _ in edges)]
        assert kept.weights[row].tolist() == [weight for _, weight in edges]
    assert (kept.rows.dtype, kept.weights.dtype) == (clips.rows.dtype, np.float32)
    assert kept.ids == clips.ids
    elements = kept.at(tf.data.Dataset.from_tensor_slices(clips.labelled))
    assert len(elements.element_spec) == 3 + 2 * neighbors


def test_same_inputs_same_bytes(pack):
    first = {path.name: path.read_bytes() for path in pack("indexed").glob("train-*")}
    second = {path.name: path.read_bytes() for path in pack("indexed").glob("train-*")}

    assert first == second != {}


def write_corpus(folder: Path, clips: int, shape: tuple[int, int]) -> Mapping[str, Path]:
    """A ring in which every clip has ten neighbours, of random features."""
    features, graph = folder / "features", folder / "graph.tsv"
    features.mkdir(parents=True)
    random = np.random.default_rng(0)
    with ShardWriter(features, "train", 2) as writer:
        for i in range(clips):
            logmel = random.normal(size=shape).astype(np.float32)
            writer.write(feature_example(f"{i:05}", logmel, i % 2))
    frames, mels = shape
    front_end = FrontEndConfig(mel_bins=mels)
    samples = 512 + (frames - 1) * 256
    Description(front_end, samples, ("anger", "joy"), (0.0,) * mels, (1.0,) * mels).save(features)
    edges = (
        (i, (i + step) % clips, 0.9 - step / 100) for i in range(clips) for step in range(1, 6)
    )
    graph.write_text("".join(f"{a:05}\t{b:05}\t{weight}\n" for a, b, weight in edges))
    return {"features": features, "graph": graph}


@pytest.mark.parametrize("neighbors", [1, 3, 9])
def test_smaller_by_almost_the_number_of_copies(neighbors, tmp_path):
    shape = (50, 64)
    corpus = write_corpus(tmp_path, 30, shape)
    for form in ("indexed", "official"):
        pack_neighbors(**corpus, out=tmp_path / form, form=form, max_neighbors=neighbors)

    official_size, indexed_size = (
        sum(path.stat().st_size for path in (tmp_path / form).iterdir())
        for form in ("official", "indexed")
    )
    assert official_size >= (1 + neighbors) / 1.2 * indexed_size
    written, expected = tmp_path / "indexed", tmp_path / "official"
    assert assert_equal(indexed(written, neighbors, shape), official(expected, neighbors, shape))


@pytest.mark.slow
def test_memory_does_not_grow_with_features(tmp_path):
    shape, peaks = (60, 64), {}
    for clips in (300, 900):
        folder = tmp_path / f"{clips}"
        corpus = write_corpus(folder, clips, shape)
        tracemalloc.start()
        try:
            pack_neighbors(**corpus, out=folder / "indexed", form="indexed", max_neighbors=9)
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            assert sum(1 for _ in indexed(folder / "indexed", 9, shape)) == clips
            peaks[clips] = [written, tracemalloc.get_traced_memory()[1]]
        finally:
            tracemalloc.stop()

    features = (900 - 300) * np.prod(shape) * 4
    for small, large in zip(*peaks.values(), strict=True):
        assert large - small < 0.1 * features


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "is missing, cut off or damaged"),
        (cut, "is missing, cut off or damaged"),
        (lambda path: path.write_bytes(b""), "is missing, cut off or damaged"),
        (lambda path: path.write_bytes(b"no array at all"), "is missing, cut off or damaged"),
        (lambda path: np.save(path, np.array(["a", 1], object)), "is missing, cut off or damaged"),
        (
            lambda path: np.save(path, np.load(path)[:-1]),
            r"must be float32 of shape \(5, 2, 3\).*; received float32 \(4, 2, 3\)",
        ),
        (
            lambda path: np.save(path, np.load(path).astype(np.float64)),
            r"must be .* received float64 \(5, 2, 3\)",
        ),
        (
            lambda path: np.save(path, np.load(path).swapaxes(1, 2)),
            r"must be .* received float32 \(5, 3, 2\)",
        ),
    ],
)
def test_spoilt_features_are_refused(spoil, message, pack):
    folder = pack("indexed", shards=2)
    path = folder / "train-00000-of-00002.npy"
    spoil(path)

    with pytest.raises(InputError, match=f"{path.name}: {message}"):
        open_indexed(folder, ("train",), SHAPE, neighbors=3)


@pytest.mark.parametrize(
    ("neighbors", "message"),
    [
        ([[b"b"], [], [b"x"]], "neighbour .* c\\b"),
        ([[b"b", b"c"], [b"a"], []], "neighbor_weights .* a\\b"),
    ],
)
def test_spoilt_index_is_refused(neighbors, message, tmp_path):
    with ShardWriter(tmp_path, "train", 1) as writer:
        for utterance_id, ids in zip("abc", neighbors, strict=True):
            example = feature_example(utterance_id, np.empty(0), 0)
            example.features.feature["neighbor_ids"].bytes_list.value.extend(ids)
            example.features.feature["neighbor_weights"].float_list.value.extend(
                [0.5] * len(ids[:1])
            )
            writer.write(example)
    np.save(tmp_path / "train-00000-of-00001.npy", np.zeros((3, *SHAPE), np.float32))

    with pytest.raises(InputError, match=f"train-00000-of-00001.tfrecord: .*{message}"):
        open_indexed(tmp_path, ("train",), SHAPE, neighbors=2)


@pytest.mark.parametrize("weight", [0.0, -0.5, np.nan])
def test_weights_that_do_not_pull_are_refused(weight, pack):
    folder = pack("indexed", shards=1)
    (path,) = shard_paths(folder, "train")
    examples = [*read_examples([path])]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            if example_id(example) == "a":
                example.features.feature["neighbor_weights"].float_list.value[-1] = weight
            writer.write(example.SerializeToString())

    with pytest.raises(InputError, match=r"tfrecord: .* weight above 0.* a\b"):
        open_indexed(folder, ("train",), SHAPE, neighbors=3)


def test_cut_index_is_refused(pack):
    folder = pack("indexed")
    cut(folder / "train-00002-of-00004.tfrecord")

    with pytest.raises(InputError, match="train-00002-of-00004.tfrecord: is cut off or damaged"):
        open_indexed(folder, ("train",), SHAPE, neighbors=3)
