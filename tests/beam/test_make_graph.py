"""A graph and training records, against those of one machine."""

import numpy as np
import pytest

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.official import open_official
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.pipeline.record import read_record
from tests.graph.kinds import clustered_vectors, duplicated_vectors, random_vectors

KINDS = {
    "negative": (random_vectors(), -0.05),
    "clustered": (clustered_vectors(), 0.9),
    "duplicated": (duplicated_vectors(), 1.0),
    "tied": (np.sign(duplicated_vectors()), -0.2),
}


def by_id(vectors: np.ndarray) -> dict[str, np.ndarray]:
    names = np.random.default_rng(4).permutation(len(vectors))
    return {f"clip é{name}": vector for name, vector in zip(names, vectors, strict=True)}


@pytest.fixture
def one_machine(tmp_path):
    def build(embeddings, threshold, max_neighbors):
        graph = tmp_path / "one_machine.tsv"
        build_graph(
            embeddings=embeddings,
            out=graph,
            builder="exact",
            similarity_threshold=threshold,
            max_neighbors=max_neighbors,
        )
        return graph

    return build


@pytest.mark.parametrize(
    ("kind", "blocks", "max_neighbors"),
    [
        ("duplicated", 5, 1),
        pytest.param("negative", 3, 2, marks=pytest.mark.slow),
        pytest.param("clustered", 7, 0, marks=pytest.mark.slow),
        pytest.param("duplicated", 1, 0, marks=pytest.mark.slow),
        pytest.param("tied", 20, 3, marks=pytest.mark.slow),
    ],
)
def test_edges_are_those_of_one_machine(
    kind, blocks, max_neighbors, beam_here, write_embeddings, one_machine, lines_of, tmp_path
):
    vectors, threshold = KINDS[kind]
    embeddings = write_embeddings(by_id(vectors))

    result = beam_here(
        embeddings=embeddings,
        out=tmp_path / "out",
        similarity_threshold=threshold,
        max_neighbors=max_neighbors,
        blocks=blocks,
        shards=2,
    )

    expected = one_machine(embeddings, threshold, max_neighbors or None).read_text().splitlines()
    assert lines_of(tmp_path / "out" / "graph" / "graph") == expected
    assert 20 < len(expected) == result.counts["edge_lines"]
    assert result.counts["pairs_compared"] == 90 * 89 // 2
    assert result.counts["blocks"] == blocks


@pytest.mark.slow
def test_records_are_those_of_one_machine(
    beam_here, write_embeddings, write_features, one_machine, lines_of, records_of, tmp_path
):
    vectors, threshold = KINDS["tied"]
    embeddings = write_embeddings(by_id(vectors))
    labels = {name: i % 3 - 1 for i, name in enumerate(by_id(vectors))}
    features = write_features(labels | {"without embedding": 1, "with neither": -1})
    graph = one_machine(embeddings, threshold, 3)
    packed = pack_neighbors(
        features=features, graph=graph, out=tmp_path / "packed", max_neighbors=3, form="official"
    )

    out = tmp_path / "out"
    result = beam_here(
        embeddings=embeddings,
        features=features,
        out=out,
        similarity_threshold=threshold,
        blocks=3,
        shards=2,
    )

    records = records_of(out / "training")
    assert records == records_of(tmp_path / "packed")
    assert lines_of(out / "graph" / "graph") == graph.read_text().splitlines()
    for name in ("labelled", "unlabelled", "clips_by_neighbors"):
        assert result.counts[name] == packed.counts[name]
    assert packed.counts["unlabelled"] > 20
    assert result.counts["dead_letters"] == 0
    clips = open_official(out / "training", ("train",), (2, 3), neighbors=3)
    assert len(clips.labelled) == len(records) == packed.counts["labelled"]
    assert Description.load(out / "training") == Description.load(features)

    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *(f"graph/graph-{i:05d}-of-00002.tsv" for i in range(2)),
        *(f"training/train-{i:05d}-of-00002.tfrecord" for i in range(2)),
        "dead_letters/graph-00000-of-00001.jsonl",
        "training/description.json",
        "stage.json",
    }
    record = read_record(out)
    assert record["counts"]["edge_lines"] == result.counts["edge_lines"]
    assert record["settings"]["embeddings"] == str(embeddings)


def test_damaged_file_is_refused_and_earlier_output_stays(beam_here, write_embeddings, tmp_path):
    embeddings, out = write_embeddings(by_id(clustered_vectors())), tmp_path / "out"
    shard = max(embeddings.iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    out.mkdir()
    (out / "stage.json").write_text('{"stage": "beam_graph"}')

    with pytest.raises(InputError, match="damaged.*'embeddings/read"):
        beam_here(embeddings=embeddings, out=out, similarity_threshold=0.9, shards=1)

    assert [path.read_text() for path in out.iterdir()] == ['{"stage": "beam_graph"}']
    assert {path.name for path in tmp_path.iterdir()} == {"embeddings", "out"}


@pytest.mark.slow
def test_graph_without_edges_is_refused_with_the_number_of_dead_letters(
    beam_here, write_embeddings, write_features, tmp_path
):
    embeddings = write_embeddings(by_id(clustered_vectors()))
    features = write_features({"another corpus": 0})

    message = r"^similarity_threshold: .* 0 clips .*90 dead letters of joining.* 0\.9,"
    with pytest.raises(InputError, match=message):
        beam_here(
            embeddings=embeddings, features=features, out=tmp_path / "out", similarity_threshold=0.9
        )
    assert not (tmp_path / "out").exists()


def test_missing_shard_is_refused(beam_here, write_embeddings, tmp_path):
    embeddings = write_embeddings(by_id(clustered_vectors()))
    min(embeddings.iterdir()).unlink()

    with pytest.raises(InputError, match="embeddings: .*'train'.* 2 files"):
        beam_here(embeddings=embeddings, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "manifest, embeddings: exactly one"),
        ({"embeddings": "e", "manifest": "m"}, "manifest, embeddings: exactly one"),
        ({"manifest": "m"}, "manifest: needs an upstream"),
        ({"embeddings": "e", "upstream": "u"}, "manifest: needs an upstream"),
        ({"manifest": "m", "upstream": "u", "features": "f"}, "manifest: .* features"),
        ({"embeddings": "e", "features": "f", "max_neighbors": 0}, "max_neighbors: 0 .all"),
        ({"embeddings": "e", "max_neighbors": -1}, "max_neighbors: .* received -1"),
        ({"embeddings": "e", "blocks": 0}, "blocks: .* received 0"),
        ({"embeddings": "e", "shards": -1}, "shards: .* received -1"),
        ({"embeddings": "e", "splits": ("train", "test")}, "splits: .*test"),
        ({"embeddings": "e", "similarity_threshold": "auto"}, "similarity_threshold: auto"),
        ({"embeddings": "e", "similarity_threshold": 2.0}, "similarity_threshold: .* 2.0"),
    ],
)
def test_settings_are_checked_first(settings, message, beam_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("m", "u"):
        (tmp_path / name).touch()

    with pytest.raises(InputError, match=message):
        beam_here(out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_runner_among_beams_options_is_refused(beam_here, tmp_path):
    with pytest.raises(InputError, match="beam_options: .*--runner=FlinkRunner"):
        beam_here("--runner=FlinkRunner", embeddings="e", out=tmp_path / "out")
