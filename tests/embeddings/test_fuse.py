import numpy as np
import pytest

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.examples import example_id
from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import shard_paths
from ser_nsl.embeddings.fuse import fuse_embeddings
from ser_nsl.errors import InputError
from ser_nsl.graph.build import build_graph


@pytest.fixture
def write(write_embeddings):
    """Returns a function that writes embeddings of some kind, split by split."""

    def write(kind, upstream="", **splits):
        for split, vectors in splits.items():
            folder = write_embeddings(vectors, split=split, kind=kind, upstream=upstream)
        return folder

    return write


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_cosine_is_the_mean_of_the_cosines(write, tmp_path):
    random = np.random.default_rng(0)
    ids = [f"clip{i}" for i in random.permutation(9)]
    kinds = {
        # Lengths and widths differ, and so does the order of the clips.
        name: {clip: scale * random.normal(size=width) for clip in sorted(ids, key=order)}
        for name, scale, width, order in (
            ("a", 1.0, 3, ids.index),
            ("b", 1e4, 7, str),
            ("c", 1e-4, 2, lambda clip: -ids.index(clip)),
        )
    }
    folders = tuple(write(name, f"{name}:fc1", train=vectors) for name, vectors in kinds.items())

    result = fuse_embeddings(embeddings=folders, out=tmp_path / "out")

    assert result.counts == {"train": 9, "width": 12, "dropped": []}
    fused = read_embeddings(tmp_path / "out", ["train"])
    for one in ids:
        for other in ids:
            mean = np.mean([cosine(kind[one], kind[other]) for kind in kinds.values()])
            assert cosine(fused[one], fused[other]) == pytest.approx(mean, abs=1e-6)
    assert read_upstream(tmp_path / "out", "train") == "a:fc1+b:fc1+c:fc1"
    orders = [
        [example_id(example) for example in read_examples(shard_paths(folder, "train"))]
        for folder in (tmp_path / "out", folders[0])
    ]
    assert orders[0] == orders[1]


def test_graph_of_joint_embeddings_has_the_mean_cosine(write, tmp_path):
    one = write("one", train={"a": [1, 0], "b": [0, 1]})
    other = write("other", train={"a": [2, 0, 0], "b": [3, 0, 4]})
    fuse_embeddings(embeddings=(one, other), out=tmp_path / "out")
    build_graph(embeddings=tmp_path / "out", out=tmp_path / "graph.tsv", similarity_threshold=0.0)

    assert (tmp_path / "graph.tsv").read_text() == "a\tb\t0.300000\nb\ta\t0.300000\n"
    assert read_upstream(tmp_path / "out", "train") == "unknown+unknown"


def test_common_splits_are_joined_and_others_named(write, tmp_path):
    vectors = {"a": [1.0], "b": [2.0]}
    one = write("one", train=vectors, val={"c": [1.0]}, test={"d": [1.0]})
    other = write("other", train=vectors, val={"c": [3.0]})

    result = fuse_embeddings(embeddings=(one, other), out=tmp_path / "out")

    assert result.counts["train"] == 2 and result.counts["val"] == 1
    assert result.counts["dropped"] == [f"test: not in {other}"]
    assert sorted(read_embeddings(tmp_path / "out", ["train", "val"])) == ["a", "b", "c"]


def test_unequal_clips_are_named(write, tmp_path):
    one = write("one", train={name: [1.0] for name in "abcd"})
    other = write("other", train={name: [1.0] for name in "aefg"})

    with pytest.raises(InputError, match=r"'train' .*one and .*other .*\(6; first: b, c, d\)"):
        fuse_embeddings(embeddings=(one, other), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_vectors_without_direction_are_refused(write, tmp_path):
    one = write("one", train={"a": [1.0, 0.0], "b": [0.0, 1.0]})
    other = write("other", train={"a": [0.0, 0.0], "b": [0.0, 1.0]})

    with pytest.raises(InputError, match=r"other: .*zero.*\(1; first: a\)"):
        fuse_embeddings(embeddings=(one, other), out=tmp_path / "out")


def test_single_folder_and_different_splits_are_refused(write, tmp_path):
    one = write("one", train={"a": [1.0]})
    other = write("other", val={"a": [1.0]})

    with pytest.raises(InputError, match="embeddings: .*two.*received 1"):
        fuse_embeddings(embeddings=(one,), out=tmp_path / "out")
    with pytest.raises(InputError, match="embeddings: .*no split in common"):
        fuse_embeddings(embeddings=(one, other), out=tmp_path / "out")
