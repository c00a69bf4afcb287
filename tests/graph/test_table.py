import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph.table import check_edges, read_graph


def test_reads_edges_in_order_with_weight_1_by_default(write_graph):
    graph = read_graph(write_graph("b a 0.5", "a b", "a c 0.25"))

    assert list(graph.itertuples(index=False, name=None)) == [
        ("b", "a", 0.5),
        ("a", "b", 1.0),
        ("a", "c", 0.25),
    ]


def test_ids_may_hold_anything_but_tabs_and_line_ends(tmp_path):
    path = tmp_path / "graph.tsv"
    path.write_text("a b\tc\u2028d\t0.5\n")

    assert read_graph(path).values.tolist() == [["a b", "c\u2028d", 0.5]]


def write_shards(folder: Path, *texts: str, of: int) -> Path:
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"graph-{i:05d}-of-{of:05d}.tsv").write_text(text)
    return folder


def test_shards_of_a_folder_are_one_graph(tmp_path):
    folder = write_shards(tmp_path / "graph", "b\ta\t0.5\n", "", "a\tb\t0.25\n", of=3)

    assert read_graph(folder).values.tolist() == [["b", "a", 0.5], ["a", "b", 0.25]]


@pytest.mark.parametrize("texts", [(), ("a\tb\t0.5\n", "")])
def test_folder_without_all_shards_is_refused(texts, tmp_path):
    folder = write_shards(tmp_path / "graph", *texts, of=3)

    with pytest.raises(InputError, match=f"graph must hold all shards.* received {len(texts)}"):
        read_graph(folder)


def test_malformed_line_of_a_shard_is_named(tmp_path):
    folder = write_shards(tmp_path / "graph", "a\tb\t0.5\n", "a\n", of=2)

    with pytest.raises(InputError, match=r"graph-00001-of-00002\.tsv: line 1 "):
        read_graph(folder)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"a", "source<TAB>target<TAB>weight.* received 'a.n'"),
        (b"", "source<TAB>target<TAB>weight"),
        (b"a\tb\t0.5\tc", "source<TAB>target<TAB>weight"),
        (b"a\tb\t0.5\t", "source<TAB>target<TAB>weight"),
        (b"\tb\t0.5", "two clips"),
        (b"a\t\t0.5", "two clips"),
        (b"a\ta\t0.5", "different clips"),
        (b"source\ttarget\tweight", "finite weight.* header; received 'source.ttarget.tweight"),
        (b"a\tb\tnan", "finite weight"),
        (b"a\tb\t-inf", "finite weight"),
        (b"a\tb\t1e39", "finite weight"),
        (b"a\tb\t", "finite weight"),
        (b"a\tb\tTrue", "finite weight"),
        (b"a\tb\xfc\t0.5", "UTF-8"),
        (b"a\x1f\x8b\tb\t0.5", "UTF-8"),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_malformed_line_is_named(number, line, rule, tmp_path):
    path = tmp_path / "graph.tsv"
    lines = [b"a\tb\t0.5", b"a\tc", b"a\td\t0.5"]
    path.write_bytes(b"\n".join([*lines[: number - 1], line, *lines[number - 1 :], b""]))

    with pytest.raises(InputError, match=rf"graph\.tsv: line {number} .*{rule}") as refused:
        read_graph(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("weight", ["0", "-0.25", "0.000000", "1e-50"])
@pytest.mark.parametrize("others", ["c\td\n", "c\td\t0.5\n"])
def test_weights_that_do_not_pull_are_refused_in_training(weight, others, tmp_path):
    path = tmp_path / "graph.tsv"
    path.write_text(f"{others}a\tb\t{weight}\n")

    assert read_graph(path)["weight"].tolist()[1] == float(weight)
    with pytest.raises(InputError, match=rf"line 2 .*above 0.* received 'a.tb.t{weight}"):
        read_graph(path, for_training=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"a\tb\t0.5\n", mtime=0), "compressed by gzip"),
        ("a\tb\t0.5\n".encode("utf-8-sig"), "byte order mark"),
        ("a\tb\t0.5\n".encode("utf-16"), "UTF-16"),
        (None, "cannot be read .No such file"),
    ],
)
def test_file_that_is_no_plain_text_is_refused(content, message, tmp_path):
    path = tmp_path / "graph.tsv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=rf"graph\.tsv.*{message}"):
        read_graph(path)


def test_usual_and_unusual_lines_are_read_alike(tmp_path):
    """One line without a weight, and a file is read line by line."""
    random = np.random.default_rng(0)
    ids = ["NA", "null", "1", '"x', "ä b", "#c", "n\0l", " d"]
    pairs = [random.choice(ids, 2, replace=False) for _ in range(50)]
    texts = [repr(weight) for weight in random.choice([1e-300, 0.1, 0.2, 1, 3], 50) * 1.1]
    lines = [f"{a}\t{b}\t{text}" for (a, b), text in zip(pairs, texts, strict=True)]
    usual, unusual = tmp_path / "usual.tsv", tmp_path / "unusual.tsv"
    usual.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    unusual.write_text("\n".join(["e\tf", *lines]), encoding="utf-8")

    read = read_graph(usual)

    assert read.values.tolist() == [[*pair, float(t)] for pair, t in zip(pairs, texts, strict=True)]
    pd.testing.assert_frame_equal(read_graph(unusual)[1:].reset_index(drop=True), read)


def test_empty_graph_has_no_edge(tmp_path):
    path = tmp_path / "graph.tsv"
    path.touch()

    assert read_graph(path).dtypes.to_dict() == read_graph(path, for_training=True).dtypes.to_dict()
    assert read_graph(path).empty


def test_unknown_ids_are_counted_and_the_first_three_named(write_graph):
    graph = read_graph(write_graph("a z 1", "y a 1", "x w 1"))

    check_edges(graph, "awxyz", path=Path("graph.tsv"), where="here")
    with pytest.raises(InputError, match=r"graph\.tsv: .* not in here .*4; .*w, x, y\b"):
        check_edges(graph, "a", path=Path("graph.tsv"), where="here")
