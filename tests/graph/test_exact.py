import errno
import os
import tracemalloc
from pathlib import Path

import neural_structured_learning as nsl
import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.batches import read_examples
from ser_nsl.errors import InputError
from ser_nsl.graph import exact, store
from ser_nsl.graph.exact import (
    build_graph_from_config,
    find_edges,
    find_edges_between,
    find_edges_from,
)
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.graph.table import Edges, write_graph
from ser_nsl.graph.vectors import Vectors, read_vectors
from tests.graph.kinds import clustered_vectors, duplicated_vectors, random_vectors


def vectors_near(threshold: float) -> np.ndarray:
    """Cosines with the first vector lie around the threshold, most by less than 1e-6."""
    random = np.random.default_rng(3)
    off = np.concatenate([random.normal(0, 3e-7, 60), random.normal(0, 1e-8, 29)])
    cosines = np.concatenate([[1.0], threshold + off])
    vectors = np.zeros((90, 40))
    vectors[:, 0] = cosines
    sides = random.normal(0, 1, (90, 39))
    sides *= np.sqrt(1 - cosines**2)[:, np.newaxis] / np.linalg.norm(sides, axis=1, keepdims=True)
    vectors[:, 1:] = sides
    return vectors * random.uniform(0.1, 10, (90, 1))


KINDS = {
    "random": (random_vectors(), 0.3),
    "negative": (random_vectors(), -0.05),
    "clustered": (clustered_vectors(), 0.9),
    "duplicated": (duplicated_vectors(), 1.0),
    "near": (vectors_near(0.99), 0.99),
    "tiny": (1e-7 * clustered_vectors(), 0.02),
}


def by_id(vectors: np.ndarray) -> dict[str, np.ndarray]:
    names = np.random.default_rng(4).permutation(len(vectors))
    return {f"clip {name}": vector for name, vector in zip(names, vectors, strict=True)}


def all_files(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.tfrecord")))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that there are many."""
    monkeypatch.setattr(exact, "_BLOCK", 16)
    monkeypatch.setattr(exact, "_PENDING", 100)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", KINDS)
def test_stands_in_for_the_official_builder(kind, write_embeddings, tmp_path):
    vectors, threshold = KINDS[kind]
    files = all_files(write_embeddings(by_id(vectors)))
    config = nsl.configs.GraphBuilderConfig(similarity_threshold=threshold)
    official, ours = tmp_path / "official.tsv", tmp_path / "ours.tsv"

    nsl.tools.build_graph_from_config(files, str(official), config)
    build_graph_from_config(files, str(ours), config)

    lines = ours.read_text().splitlines()
    assert lines == sorted(official.read_text().splitlines())
    assert 20 < len(lines) < 90 * 89


@pytest.mark.parametrize("kind", ["duplicated", "negative"])
def test_edges_on_disk_are_those_in_memory(kind, write_embeddings, tmp_path, monkeypatch):
    vectors, threshold = KINDS[kind]
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors))))
    expected = find_edges(vectors, threshold)
    monkeypatch.setattr(store, "_PENDING", 50)
    monkeypatch.setattr(store, "_RANGES", 7)
    monkeypatch.setattr(exact, "_BLOCK", 16)
    monkeypatch.setattr(exact, "_ROWS", 5)

    parts = [*exact.stream_edges(vectors, threshold, tmp_path)]

    assert len(parts) == 7 and max(map(len, parts)) < len(expected) / 3
    found = Edges.join(parts)
    for name in ("sources", "targets", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings"]


def test_memory_does_not_grow_with_the_number_of_edges(monkeypatch, tmp_path):
    """A bound on what NumPy holds at once, where all pairs are edges."""
    monkeypatch.setattr(store, "_PENDING", 2**14)
    monkeypatch.setattr(exact, "_BLOCK", 128)
    values = np.random.default_rng(0).normal(1, 0.01, (1_500, 8)).astype(np.float32)
    norms = np.linalg.norm(values.astype(float), axis=1)
    vectors = Vectors([f"{i:04}" for i in range(1_500)], values, norms)
    tracemalloc.start()
    lines = sum(len(part) for part in exact.stream_edges(vectors, 0.9, tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert lines == 1_500 * 1_499
    assert peak < 16 * lines / 4  # 16 bytes an edge, were they all in memory


def test_other_feature_names_are_read(tmp_path):
    path, out = tmp_path / "vectors.tfrecord", tmp_path / "graph.tsv"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, vector in {"a": [1.0, 0.0], "b": [4.0, 3.0]}.items():
            example = tf.train.Example()
            example.features.feature["name"].bytes_list.value.append(name.encode())
            example.features.feature["numbers"].float_list.value.extend(vector)
            writer.write(example.SerializeToString())

    config = nsl.configs.GraphBuilderConfig("name", "numbers", similarity_threshold=0.8)
    build_graph_from_config([str(path)], str(out), config)

    assert out.read_text() == "a\tb\t0.800000\nb\ta\t0.800000\n"


def test_records_of_strangers_are_read_as_the_official_builder_reads_them(tmp_path):
    """Several ids, of which the first counts, and a feature `upstream` of another meaning."""
    path, official, ours = (tmp_path / name for name in ("v.tfrecord", "official.tsv", "ours.tsv"))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, vector in {"a": [1.0, 0.0], "b": [4.0, 3.0], "c": [1.0, 1.0]}.items():
            example = tf.train.Example()
            example.features.feature["id"].bytes_list.value.extend([name.encode(), b"x"])
            example.features.feature["embedding"].float_list.value.extend(vector)
            example.features.feature["upstream"].int64_list.value.extend([1, 2])
            writer.write(example.SerializeToString())
    config = nsl.configs.GraphBuilderConfig(similarity_threshold=0.5)

    nsl.tools.build_graph_from_config([str(path)], str(official), config)
    build_graph_from_config([str(path)], str(ours), config)

    assert ours.read_text().splitlines() == sorted(official.read_text().splitlines())


def test_a_missing_file_is_called_missing(tmp_path):
    config = nsl.configs.GraphBuilderConfig()
    with pytest.raises(InputError, match="nowhere.tfrecord: does not exist"):
        build_graph_from_config([str(tmp_path / "nowhere.tfrecord")], str(tmp_path / "g"), config)


def test_the_earlier_graph_stays_when_the_disk_is_full(write_embeddings, tmp_path, monkeypatch):
    files = all_files(write_embeddings(by_id(clustered_vectors())))
    out = tmp_path / "graph.tsv"
    out.write_text("earlier")

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match="graph.tsv: cannot be written .No space left"):
        build_graph_from_config(files, str(out), nsl.configs.GraphBuilderConfig())
    assert {path.name for path in tmp_path.iterdir()} == {"embeddings", "graph.tsv"}
    assert out.read_text() == "earlier"


def test_threshold_out_of_range_is_refused(tmp_path):
    config = nsl.configs.GraphBuilderConfig(similarity_threshold=1.5)
    with pytest.raises(InputError, match="similarity_threshold: .* received 1.5"):
        build_graph_from_config([], str(tmp_path / "graph.tsv"), config)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["random", "negative", "clustered", "duplicated", "near"])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_nearest_are_those_of_the_whole_graph(kind, count, write_embeddings):
    vectors, threshold = KINDS[kind]
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors))))
    whole = find_edges(vectors, threshold)
    neighbors: dict[int, list] = {}
    for source, target, weight in zip(whole.sources, whole.targets, whole.weights, strict=True):
        neighbors.setdefault(source, []).append((float(f"{weight:f}"), target))

    found = find_edges(vectors, threshold, max_neighbors=count)

    expected = {
        (source, target)
        for source, found in neighbors.items()
        for _, target in sorted(found, reverse=True)[:count]
    }
    pairs = list(zip(found.sources, found.targets, strict=True))
    assert pairs == sorted(expected)
    np.testing.assert_array_equal(found.weights, vectors.cosines(found.sources, found.targets))


@pytest.mark.parametrize("kind", ["random", "duplicated", "near"])
@pytest.mark.parametrize("count", [1, 4])
def test_packing_is_the_same_with_the_nearest_only(
    kind, count, write_embeddings, write_features, tmp_path
):
    vectors, threshold = KINDS[kind]
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors))))
    features = write_features({name: (i, i % 2) for i, name in enumerate(vectors.ids)})
    packed = []
    for limit in (None, count):
        graph, out = tmp_path / f"{limit}.tsv", tmp_path / f"packed {limit}"
        edges = find_edges(vectors, threshold, max_neighbors=limit)
        write_graph(graph, vectors.ids, [edges])
        pack_neighbors(features=features, graph=graph, out=out, max_neighbors=count)
        packed.append([str(example) for example in read_examples(sorted(out.glob("*.tfrecord")))])

    assert packed[0] == packed[1]
    assert max(text.count("_weight") for text in packed[0]) == count
    assert len(edges) <= count * len(vectors)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["negative", "clustered", "duplicated", "near"])
@pytest.mark.parametrize("limit", [None, 3])
def test_edges_from_some_clips_are_theirs_among_all(kind, limit, write_embeddings):
    vectors, threshold = KINDS[kind]
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors))))
    clips = np.array([0, 5, 17, 80])
    whole = find_edges(vectors, threshold, max_neighbors=limit)
    expected = whole[np.isin(whole.sources, clips)]

    found = find_edges_from(vectors, clips, threshold, max_neighbors=limit)

    for name in ("sources", "targets", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", ["negative", "clustered"])
@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("first", [0, 1, 37, 90])
def test_edges_between_two_sides_are_those_among_all(kind, limit, first, write_embeddings):
    vectors, threshold = KINDS[kind]
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors))))
    whole = find_edges(vectors, threshold)
    expected = whole[(whole.sources < first) != (whole.targets < first)]
    if limit is not None:
        expected = expected.nearest(limit).in_order()

    found = find_edges_between(vectors, first, threshold, max_neighbors=limit)

    for name in ("sources", "targets", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert len(found) == 0 if first in (0, 90) else len(found) > 2


def test_weights_are_ranked_as_they_are_printed():
    weights = np.arange(500_200, 500_000, -1) / 1e6 + 5e-7
    sources = np.zeros(len(weights), np.int32)
    edges = Edges(sources, np.arange(len(weights), dtype=np.int32), weights)
    by_hand = sorted(((f"{weight:f}", i) for i, weight in enumerate(weights)), reverse=True)

    assert edges.nearest(len(weights)).targets.tolist() == [i for _, i in by_hand]


def test_what_a_pair_must_reach_leaves_room_for_ties(monkeypatch):
    monkeypatch.setattr(exact, "_PENDING", 1)
    found = exact._Found(4, 0.5, 1)
    found.add(np.array([0]), np.array([2]), np.array([0.8000004]))

    assert found.least[0] < 0.7999996  # printed alike, and perhaps with a later id
    found.add(np.array([0]), np.array([3]), np.array([0.7999996]))
    edges = found.edges()
    assert edges[edges.sources == 0].targets.tolist() == [3]


def test_error_of_float32_is_bounded(write_embeddings):
    vectors = read_vectors(all_files(write_embeddings(by_id(vectors_near(0.99)))))
    units = vectors.units(slice(None))

    error = np.abs(exact.cosines_in_float32(units, units) - units @ units.T).max()

    assert 0 < error < exact.float32_slack(vectors)


def test_unit_vectors_begin_where_those_of_their_own_would():
    """Between multiples of 16 bytes some kernels of BLAS sum in another order."""
    table = Vectors(["a", "b", "c"], np.ones((3, 5), np.float32), np.full(3, 5**0.5))

    units = table.units(np.array([2, 0, 1]))

    assert units.shape == (3, 5)
    assert {row.ctypes.data % 16 for row in units} == {0}
