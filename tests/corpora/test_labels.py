from pathlib import Path

import numpy as np
import pytest

from ser_nsl.corpora.labels import check_hidden, check_splits, known_labels
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

IDS = [f"clip{i:03}" for i in range(100)]
LABELS = np.array([0] * 60 + [1] * 30 + [2] * 3 + [-1] * 7)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_each_class_keeps_its_share_rounded_up(share):
    known = known_labels(IDS, LABELS, share, seed=0)

    assert [(known == label).sum() for label in range(3)] == [
        np.ceil(60 * share),
        np.ceil(30 * share),
        np.ceil(3 * share),
    ]
    assert set(known[known != LABELS]) <= {-1}


def test_order_of_clips_does_not_matter():
    order = np.random.default_rng(0).permutation(len(IDS))
    known = known_labels(IDS, LABELS, 0.3, seed=1)

    again = known_labels([IDS[i] for i in order], LABELS[order], 0.3, seed=1)

    np.testing.assert_array_equal(again, known[order])


def test_larger_share_keeps_what_a_smaller_one_keeps():
    few, many = (known_labels(IDS, LABELS, share, seed=2) for share in (0.1, 0.6))

    assert ((few == -1) | (few == many)).all()


def test_another_seed_draws_others():
    one, other = (known_labels(IDS, LABELS, 0.5, seed=seed) for seed in (0, 1))

    assert (one != other).any()


@stage(inputs=("made_from",), makes="folder")
def probe_embeddings(*, made_from: Path, out: Path, label_share: float, seed: int):
    (out / "content").write_text(f"{label_share} {seed}")
    return {}


@stage(inputs=("made_from", "also"), makes="folder")
def join(*, made_from: Path, also: tuple[Path, ...], out: Path):
    (out / "content").write_text(out.name + "".join(read(path) for path in (made_from, *also)))
    return {}


@stage(inputs=("made_from",), makes="file")
def build(*, made_from: Path, out: Path):
    out.write_text(read(made_from))
    return {}


@stage(inputs=("made_from",), makes="file")
def copy(*, made_from: Path, out: Path):
    out.write_text(made_from.read_text())
    return {}


def read(folder: Path) -> str:
    return (folder / "content").read_text()


@pytest.fixture
def records(tmp_path):
    """Training records, from a graph, from what a probe that knew half of the labels read."""
    folder = {name: tmp_path / name for name in ("heard", "probed", "graph", "records")}
    folder["heard"].mkdir()
    (folder["heard"] / "content").write_text("heard")  # by no stage
    probe_embeddings(made_from=folder["heard"], out=folder["probed"], label_share=0.5, seed=1)
    others = (folder["heard"], folder["probed"])
    join(made_from=folder["heard"], also=others, out=folder["graph"])
    join(made_from=folder["graph"], also=(), out=folder["records"])
    return folder["records"]


@pytest.mark.parametrize(("share", "seed"), [(0.5, 1), (0.7, 1), (1.0, 0)])
def test_what_a_probe_knew_may_be_known(records, share, seed):
    check_hidden(records, share, seed, argument="training_records")


@pytest.mark.parametrize(("share", "seed"), [(0.25, 1), (0.5, 0)])
def test_hidden_labels_that_a_probe_knew_are_refused(records, share, seed):
    with pytest.raises(
        InputError, match=r"training_records: .* comes from probed, whose probe knew 50% .*seed 1"
    ):
        check_hidden(records, share, seed, argument="training_records")


def test_a_probe_that_was_made_again_speaks_for_nothing_made_before(records):
    probed = records.parent / "probed"
    probe_embeddings(made_from=records.parent / "heard", out=probed, label_share=0.25, seed=1)

    with pytest.raises(InputError, match=r"probed: was made again after .*graph was made from it"):
        check_hidden(records, 0.25, 1, argument="training_records")
    with pytest.raises(InputError, match=r"probed: was made again"):
        check_hidden(records, 0.5, 1, argument="training_records")


def test_a_graph_that_was_deleted_does_not_hide_its_probe(records):
    graph, packed = (records.parent / f"{name}.tsv" for name in ("graph", "packed"))
    copy(made_from=records.parent / "probed" / "content", out=graph)
    copy(made_from=graph, out=packed)
    check_hidden(packed, 0.25, 1, argument="training_records")  # of a file that no stage made

    build(made_from=records.parent / "probed", out=graph)
    copy(made_from=graph, out=packed)
    graph.unlink()  # its record stays

    with pytest.raises(InputError, match="whose probe knew 50%"):
        check_hidden(packed, 0.25, 1, argument="training_records")


@pytest.mark.parametrize("splits", [("test",), ("train", "test")])
def test_the_test_split_is_not_learned_from(splits):
    check_splits(("train", "val"))
    with pytest.raises(InputError, match="splits: the test split must have no part"):
        check_splits(splits)
