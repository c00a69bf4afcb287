"""NSL's packer and ours, on records of any features and on any graph."""

from pathlib import Path

import neural_structured_learning as nsl
import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.graph.exact import build_graph_from_config
from ser_nsl.graph.pack import _readable_graphs
from ser_nsl.graph.stand_in import pack_nbrs


def write(path: Path, records: dict[str, dict], name: str = "id") -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for key, features in records.items():
            example = tf.train.Example()
            feature = example.features.feature
            feature[name].bytes_list.value.append(key.encode())
            feature["words"].int64_list.value.extend(features.get("words", []))
            feature["embedding"].float_list.value.extend(features.get("embedding", []))
            writer.write(example.SerializeToString())
    return str(path)


def read(path: Path) -> list[tf.train.Example]:
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


@pytest.fixture(params=["text", "numbers"])
def reviews(request, tmp_path) -> tuple[str, str]:
    """As in NSL's tutorial on IMDB: word numbers of any length, and an embedding."""
    random = np.random.default_rng(0)
    ids = [f"{'aüz'[i % 3]}{i}" if request.param == "text" else str(i) for i in range(40)]
    records = {
        key: {
            "words": random.integers(1_000, size=random.integers(1, 9)),
            "embedding": random.normal(0.3, 1, 8),
        }
        for key in ids
    }
    labelled = {key: records[key] for key in ids[:25]}
    rest = {key: records[key] for key in ids[25:]}
    return write(tmp_path / "labelled", labelled), write(tmp_path / "rest", rest)


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("most", [None, 1, 3])
@pytest.mark.parametrize("build", [nsl.tools.build_graph_from_config, build_graph_from_config])
def test_tutorial_with_either_builder_and_either_packer(build, most, undirected, reviews, tmp_path):
    graph = tmp_path / "graph.tsv"
    build(list(reviews), str(graph), nsl.configs.GraphBuilderConfig(similarity_threshold=0.5))
    settings = {"add_undirected_edges": undirected, "max_nbrs": most}

    pack_nbrs(*reviews, str(graph), str(tmp_path / "ours"), **settings)
    with _readable_graphs():
        nsl.tools.pack_nbrs(*reviews, str(graph), str(tmp_path / "official"), **settings)

    found = read(tmp_path / "ours")
    assert found == read(tmp_path / "official")
    counts = [example.features.feature["NL_num_nbrs"].int64_list.value[0] for example in found]
    assert len(counts) == 25 and max(counts) == (most or max(counts)) > min(counts) >= 0


def test_one_way_double_and_dangling_edges(tmp_path):
    labelled = write(tmp_path / "labelled", {"a": {"words": [1]}, "b": {}, "lonely": {}}, "key")
    rest = write(tmp_path / "rest", {"c": {"words": [3, 4]}}, "key")
    graph = tmp_path / "graph.tsv"
    graph.write_text("a\tb\t0.5\na\tb\t0.7\nc\ta\t0.9\nc\tb\na\tx\t2\nb\ty\ny\tb\t9\nz\ty\n")
    settings = {"id_feature_name": "key"}

    for undirected in (False, True):
        settings["add_undirected_edges"] = undirected
        with pytest.warns(UserWarning, match=r"edges lead to 2 ids .* no record .* x, y\)"):
            pack_nbrs(labelled, rest, str(graph), str(tmp_path / "ours"), **settings)
        with _readable_graphs():
            official = str(tmp_path / "official")
            nsl.tools.pack_nbrs(labelled, rest, str(graph), official, **settings)
        assert read(tmp_path / "ours") == read(tmp_path / "official")


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        ("a\tb\n", {"max_nbrs": 0}, "max_nbrs: must be 1 or more, .* received 0"),
        ("a\tb\nc\tc\n", {}, r"graph\.tsv: line 2 .* different"),
        ("a\tb\n", {"id_feature_name": "name"}, "labelled: the id '' is missing"),
    ],
)
def test_what_cannot_be_packed_is_said_and_nothing_lost(lines, settings, message, tmp_path):
    labelled = write(tmp_path / "labelled", {"a": {}, "b": {}})
    (tmp_path / "graph.tsv").write_text(lines)
    (tmp_path / "packed").write_text("earlier")

    with pytest.raises(InputError, match=message):
        pack_nbrs(labelled, "", str(tmp_path / "graph.tsv"), str(tmp_path / "packed"), **settings)
    assert (tmp_path / "packed").read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"labelled", "graph.tsv", "packed"}
