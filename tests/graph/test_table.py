from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph.table import check_edges, read_graph


def test_reads_edges_in_order_with_weight_1_by_default(write_graph):
    graph = read_graph(write_graph("b a 0.5", "a b", "a c -0.25"))

    assert list(graph.itertuples(index=False, name=None)) == [
        ("b", "a", 0.5),
        ("a", "b", 1.0),
        ("a", "c", -0.25),
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
    "line",
    ["a", "a\tb\t0.5\tc", "\tb\t0.5", "a\t\t0.5", "a\tb\tnear", "a\tb\tnan", "a\tb\tinf", ""],
)
def test_malformed_line_is_named(line, tmp_path):
    path = tmp_path / "graph.tsv"
    path.write_text(f"a\tb\t0.5\n{line}\na\tc\t0.5\n")

    with pytest.raises(InputError, match=r"graph\.tsv: line 2 "):
        read_graph(path)


def test_unknown_ids_are_counted_and_the_first_three_named(write_graph):
    graph = read_graph(write_graph("a z 1", "y a 1", "x w 1"))

    check_edges(graph, "awxyz", path=Path("graph.tsv"), where="here")
    with pytest.raises(InputError, match=r"graph\.tsv: .* not in here .*4; .*w, x, y\b"):
        check_edges(graph, "a", path=Path("graph.tsv"), where="here")
