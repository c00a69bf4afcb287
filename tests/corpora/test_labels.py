import json
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.corpora.labels import check_hidden, check_share, check_splits, known_labels
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

IDS = [f"clip{i:03}" for i in range(100)]
LABELS = np.array([0] * 60 + [1] * 30 + [2] * 3 + [-1] * 7)


@pytest.mark.parametrize(
    ("share", "counts"), [(0.1, [6, 3, 1]), (0.25, [15, 8, 1]), (1, [60, 30, 3])]
)
def test_each_class_keeps_its_share_rounded_up(share, counts):
    known = known_labels(IDS, LABELS, share, seed=0)

    assert [(known == label).sum() for label in range(3)] == counts
    assert set(known[known != LABELS]) <= {-1}


def test_choice_depends_on_ids_and_seed_only_and_grows_with_the_share():
    order = np.random.default_rng(0).permutation(len(IDS))
    few, many = (known_labels(IDS, LABELS, share, seed=1) for share in (0.3, 0.6))

    again = known_labels([IDS[i] for i in order], LABELS[order], 0.3, seed=1)

    np.testing.assert_array_equal(again, few[order])
    assert ((few == -1) | (few == many)).all()
    assert (few != known_labels(IDS, LABELS, 0.3, seed=2)).any()


@stage(inputs=("made_from",), makes="folder")
def probe_embeddings(
    *,
    made_from: Path,
    out: Path,
    label_share: float,
    seed: int,
    splits: tuple[str, ...] = ("train",),
):
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
    """Training records, from a graph, from the output of a probe that used half of the labels."""
    folder = {name: tmp_path / name for name in ("clips", "probed", "graph", "records")}
    folder["clips"].mkdir()
    (folder["clips"] / "content").write_text("clips")  # made by no stage
    probe_embeddings(made_from=folder["clips"], out=folder["probed"], label_share=0.5, seed=1)
    join(made_from=folder["clips"], also=(folder["clips"], folder["probed"]), out=folder["graph"])
    join(made_from=folder["graph"], also=(), out=folder["records"])
    return folder["records"]


def test_labels_that_a_probe_used_must_be_known(records):
    for share, seed in ((0.5, 1), (0.7, 1), (1.0, 0)):
        check_hidden(records, share, seed, argument="training_records")
    for share, seed in ((0.25, 1), (0.5, 0)):
        with pytest.raises(InputError, match=r"training_records: .* probed, .* 50% .*seed 1"):
            check_hidden(records, share, seed, argument="training_records")


def test_probe_and_training_know_labels_of_the_same_splits(records):
    """A share of both splits is another choice of training clips than the share of one."""
    both = ("train", "val")
    for share, seed in ((0.5, 1), (0.7, 1)):
        with pytest.raises(InputError, match=r"50% .* of train \(seed 1\).*--splits train val,"):
            check_hidden(records, share, seed, both, argument="training_records")
    check_hidden(records, 1.0, 0, both, argument="training_records")

    probed, clips = records.parent / "probed", records.parent / "clips"
    probe_embeddings(made_from=clips, out=probed, label_share=0.5, seed=1, splits=both)
    check_hidden(probed, 0.5, 1, both[::-1], argument="embeddings")
    check_hidden(probed, 1.0, 0, both, argument="embeddings")
    for share in (0.5, 1.0):  # else validation clips, whose labels the probe knew, would choose
        with pytest.raises(
            InputError, match=r"embeddings: .*50% .* train and val .*--splits train,"
        ):
            check_hidden(probed, share, 1, argument="embeddings")


def test_labels_of_a_probe_from_before_splits_were_asked(records):
    path = records.parent / "probed" / "stage.json"
    record = json.loads(path.read_text())
    del record["settings"]["splits"]
    path.write_text(json.dumps(record))

    check_hidden(records, 0.5, 1, argument="training_records")
    with pytest.raises(InputError, match="of train "):
        check_hidden(records, 0.5, 1, ("train", "val"), argument="training_records")


def test_probe_that_was_made_again_says_nothing_of_what_was_made_before(records):
    probed = records.parent / "probed"
    probe_embeddings(made_from=records.parent / "clips", out=probed, label_share=0.25, seed=1)

    for share in (0.25, 0.5):
        with pytest.raises(InputError, match=r"probed: .*graph"):
            check_hidden(records, share, 1, argument="training_records")
    check_hidden(records, 1.0, 1, argument="training_records")  # all labels may be known


def test_deleted_graph_does_not_hide_its_probe(records):
    graph, packed = (records.parent / f"{name}.tsv" for name in ("graph", "packed"))
    copy(made_from=records.parent / "probed" / "content", out=graph)
    copy(made_from=graph, out=packed)
    check_hidden(packed, 0.25, 1, argument="training_records")  # of a file that no stage made

    for path in (graph, graph.with_name("graph.tsv.stage.json")):
        path.unlink()
    build(made_from=records.parent / "probed", out=graph)
    copy(made_from=graph, out=packed)
    graph.unlink()  # its record stays

    with pytest.raises(InputError, match="training_records: .* 50%"):
        check_hidden(packed, 0.25, 1, argument="training_records")


def test_test_split_and_impossible_shares_are_refused():
    check_splits(("train", "val"))
    with pytest.raises(InputError, match="splits: .*test"):
        check_splits(("train", "test"))
    check_share(1)
    for share in (0, 1.5):
        with pytest.raises(InputError, match=f"label_share: .*{share}"):
            check_share(share)
