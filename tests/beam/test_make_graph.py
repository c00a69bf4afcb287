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
from ser_nsl.pipeline.stage import read_record


def random_vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(0.4, 1, (90, 33))


def clustered_vectors() -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.normal(0, 1, (9, 16))
    return centres[random.integers(9, size=90)] + random.normal(0, 0.3, (90, 16))


def duplicated_vectors() -> np.ndarray:
    """Each stands there about three times, so neighbours tie."""
    random = np.random.default_rng(2)
    return random.normal(0, 1, (30, 24))[random.integers(30, size=90)]


KINDS = {
    "random": (random_vectors(), 0.3),
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
        ("random", 1, None),
        ("random", 4, None),
        ("random", 4, 3),
        ("negative", 3, 2),
        ("clustered", 7, None),
        ("clustered", 2, 1),
        ("duplicated", 5, None),
        ("duplicated", 5, 1),
        ("tied", 1, 3),
        ("tied", 4, 3),
        ("tied", 20, 3),
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

    expected = one_machine(embeddings, threshold, max_neighbors).read_text().splitlines()
    assert lines_of(tmp_path / "out" / "graph" / "graph") == expected
    assert 20 < len(expected) == result.counts["edge_lines"]
    assert result.counts["pairs_compared"] == 90 * 89 // 2
    assert result.counts["blocks"] == blocks


@pytest.mark.parametrize("kind", ["clustered", "tied"])
def test_records_are_those_of_one_machine(
    kind, beam_here, write_embeddings, write_features, one_machine, lines_of, records_of, tmp_path
):
    vectors, threshold = KINDS[kind]
    embeddings = write_embeddings(by_id(vectors))
    labels = {name: i % 4 - 1 for i, name in enumerate(by_id(vectors))}
    labels |= {"without embedding": 1, "with neither": -1}
    features = write_features(labels)
    graph = one_machine(embeddings, threshold, 3)
    packed = pack_neighbors(
        features=features,
        graph=graph,
        out=tmp_path / "packed",
        max_neighbors=3,
        form="official",
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


def test_outputs_are_sharded_and_recorded(beam_here, write_embeddings, write_features, tmp_path):
    vectors = by_id(clustered_vectors())
    embeddings, features = write_embeddings(vectors), write_features(dict.fromkeys(vectors, 0))
    out = tmp_path / "out"

    result = beam_here(
        embeddings=embeddings, features=features, out=out, similarity_threshold=0.9, shards=3
    )

    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *(f"graph/graph-{i:05d}-of-00003.tsv" for i in range(3)),
        *(f"training/train-{i:05d}-of-00003.tfrecord" for i in range(3)),
        "dead_letters/graph-00000-of-00001.jsonl",
        "training/description.json",
        "stage.json",
    }
    record = read_record(out)
    assert record["counts"] == result.counts | {
        "clips_by_neighbors": {str(n): m for n, m in result.counts["clips_by_neighbors"].items()}
    }
    assert record["settings"]["embeddings"] == str(embeddings)
    assert "dead letters 0" in str(result)


def test_failed_pipeline_leaves_earlier_output(beam_here, write_embeddings, tmp_path):
    good = write_embeddings(by_id(clustered_vectors()))
    cut = write_embeddings(by_id(random_vectors()), name="cut")
    shard = max(cut.iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    out = tmp_path / "out"
    beam_here(embeddings=good, out=out, similarity_threshold=0.9, shards=1)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    with pytest.raises(InputError, match="file of records is cut off or damaged.*embeddings/Read"):
        beam_here(embeddings=cut, out=out, similarity_threshold=0.9, shards=1)

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"embeddings", "cut", "out"}


def test_graph_without_edges_is_refused_and_earlier_output_stays(
    beam_here, write_embeddings, tmp_path
):
    embeddings, out = write_embeddings(by_id(clustered_vectors())), tmp_path / "out"
    beam_here(embeddings=embeddings, out=out, similarity_threshold=0.9, shards=1)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    message = "similarity_threshold: no two of the 90 clips that could be used reach 0.9999, .* low"
    with pytest.raises(InputError, match=message):
        beam_here(embeddings=embeddings, out=out, similarity_threshold=0.9999, shards=1)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_clips_without_features_are_told_where_no_edge_is_left(
    beam_here, write_embeddings, write_features, tmp_path
):
    embeddings = write_embeddings(by_id(clustered_vectors()))

    message = r"of the 0 clips .* \(90 dead letters of joining embeddings and features\) reach 0.9,"
    with pytest.raises(InputError, match=message):
        beam_here(
            embeddings=embeddings,
            features=write_features({"another corpus": 0}),
            out=tmp_path / "out",
            similarity_threshold=0.9,
        )


def test_missing_shard_is_refused(beam_here, write_embeddings, tmp_path):
    embeddings = write_embeddings(by_id(clustered_vectors()))
    min(embeddings.iterdir()).unlink()

    with pytest.raises(InputError, match="shards of 'train' must be complete.* received 2 files"):
        beam_here(embeddings=embeddings, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "manifest, embeddings: exactly one must be given"),
        ({"embeddings": "e", "manifest": "m"}, "manifest, embeddings: exactly one"),
        ({"manifest": "m"}, "manifest: needs an upstream"),
        ({"embeddings": "e", "upstream": "u"}, "manifest: needs an upstream"),
        ({"manifest": "m", "upstream": "u", "features": "f"}, "manifest: .* makes the features"),
        ({"embeddings": "e", "features": "f", "max_neighbors": None}, "max_neighbors: None makes"),
        ({"embeddings": "e", "max_neighbors": 0}, "max_neighbors: must be 1 or more; received 0"),
        ({"embeddings": "e", "blocks": 0}, "blocks: must be 1 or more; received 0"),
        ({"embeddings": "e", "shards": -1}, "shards: must be 0 or more; received -1"),
        ({"embeddings": "e", "splits": ("train", "test")}, "the test split must have no part"),
        ({"embeddings": "e", "similarity_threshold": "auto"}, "_threshold: auto works on one mach"),
        ({"embeddings": "e", "similarity_threshold": 2.0}, "similarity_threshold: .* received 2.0"),
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
    with pytest.raises(InputError, match="beam_options: .* before the two hyphens; received"):
        beam_here("--runner=FlinkRunner", embeddings="e", out=tmp_path / "out")
