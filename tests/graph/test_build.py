import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import neural_structured_learning as nsl
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from ser_nsl.corpora.manifest import COLUMNS, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.controls import control_graph
from ser_nsl.graph.select import select_edges
from ser_nsl.graph.table import number_edges, read_graph, write_graph

# Two numbers each, so that every cosine can be read off: a-b 0.8, a-c 0.6, b-c 0.96, b-d 0.6,
# c-d 0.8, a-d 0, and e looks the other way.
ON_PAPER = {"a": [5, 0], "b": [4, 3], "c": [30, 40], "d": [0, 0.25], "e": [-1, 0]}


def random_vectors(clips: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {f"clip{i:02}": random.normal(0.5, 1, 8) for i in range(clips)}


def test_five_clips_on_paper(write_embeddings, tmp_path):
    out = tmp_path / "graph.tsv"

    result = build_graph(
        embeddings=write_embeddings(ON_PAPER), out=out, similarity_threshold=0.75, lsh_splits=0
    )

    assert out.read_text().splitlines() == [
        "a\tb\t0.800000",
        "b\ta\t0.800000",
        "b\tc\t0.960000",
        "c\tb\t0.960000",
        "c\td\t0.800000",
        "d\tc\t0.800000",
    ]
    assert result.counts == {
        "builder": "official",
        "clips": 5,
        "edges": 3,
        "edge_lines": 6,
        "clips_without_edge": 1,
    }


def test_graph_that_lost_its_end_is_refused(write_embeddings, tmp_path):
    out = tmp_path / "graph.tsv"
    build_graph(embeddings=write_embeddings(ON_PAPER), out=out, similarity_threshold=0.75)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:-2]))  # between lines, where nothing else tells

    with pytest.raises(InputError, match=r"graph\.tsv: is cut off .* another name"):
        read_graph(out)
    assert len(read_graph(out.rename(tmp_path / "mine.tsv"))) == 4


@pytest.mark.parametrize("upstream", ["", "0123456789abcdef:fc1"])
@pytest.mark.parametrize(("splits", "rounds"), [(0, 1), (2, 4), (3, 1)])
def test_edges_are_those_of_the_official_builder(
    splits, rounds, upstream, write_embeddings, tmp_path
):
    folder = write_embeddings(random_vectors(40), upstream=upstream)
    files = [str(path) for path in folder.glob("*.tfrecord")]
    official = tmp_path / "official.tsv"
    nsl.tools.build_graph_from_config(
        files,
        str(official),
        nsl.configs.GraphBuilderConfig(
            similarity_threshold=0.6, lsh_splits=splits, lsh_rounds=rounds, random_seed=7
        ),
    )

    out = tmp_path / "graph.tsv"
    build_graph(
        embeddings=folder,
        out=out,
        similarity_threshold=0.6,
        lsh_splits=splits,
        lsh_rounds=rounds,
        seed=7,
    )

    lines = out.read_text().splitlines()
    assert lines == sorted(official.read_text().splitlines())
    assert len(lines) > 40


@pytest.mark.parametrize("builder", ["exact", "approximate"])
@pytest.mark.parametrize("max_neighbors", [None, 2])
def test_builders_agree(builder, max_neighbors, write_embeddings, tmp_path):
    settings = {
        "embeddings": write_embeddings(random_vectors(60)),
        "similarity_threshold": 0.5,
        "max_neighbors": max_neighbors,
    }
    official, other = tmp_path / "official.tsv", tmp_path / "other.tsv"
    first = build_graph(out=official, builder="official", lsh_splits=0, **settings)
    second = build_graph(out=other, builder=builder, cells_per_clip=40, **settings)

    assert other.read_bytes() == official.read_bytes() != b""
    assert second.counts["edges"] == first.counts["edges"]
    assert second.counts["clips_without_edge"] == first.counts["clips_without_edge"]
    assert second.counts["builder"] == builder
    if builder == "approximate":
        assert second.counts["recall"] == 1
        assert second.counts["recall_measured_on_clips"] == 60


@pytest.mark.slow
@pytest.mark.parametrize(("clips", "builder"), [(2_000, "official"), (2_001, "exact")])
def test_auto_is_official_for_small_corpora(
    clips, builder, write_embeddings, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        nsl.tools,
        "build_graph_from_config",
        lambda _, out, config: Path(out).write_text("0000\t0001\t0.995\n"),
    )
    folder = write_embeddings({f"{i:04}": [1, 10 * i] for i in range(clips)})

    result = build_graph(embeddings=folder, out=tmp_path / "graph.tsv")

    assert result.counts["builder"] == builder


def test_threshold_can_be_chosen_for_a_degree(write_embeddings, tmp_path):
    result = build_graph(
        embeddings=write_embeddings(ON_PAPER),
        out=tmp_path / "graph.tsv",
        similarity_threshold="auto",
        target_degree=0.8,
        lsh_splits=0,
    )

    # The likest pairs are b-c, 0.96, and then two of 0.8.
    assert result.counts["similarity_threshold"] == pytest.approx(0.8)
    assert result.counts["edges"] == 3
    assert result.counts["clips_looked_at"] == 5
    assert result.counts["clips_by_degree"] == {"0": 1, "1": 2, "2-3": 2}


def test_full_disk_is_reported_and_an_earlier_graph_stays(write_embeddings, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "graph.tsv"
    settings = {"embeddings": write_embeddings(ON_PAPER), "out": out, "builder": "exact"}
    build_graph(similarity_threshold=0.5, **settings)
    earlier = out.read_text()
    monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(InputError, match="graph.tsv: no space left on the disk"):
        build_graph(similarity_threshold=0.6, **settings)
    assert out.read_text() == earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "embeddings",
        "graph.tsv",
        "graph.tsv.stage.json",
    ]


def test_hashing_depends_on_the_seed(write_embeddings, tmp_path):
    folder = write_embeddings(random_vectors(40))
    texts = []
    for seed in (1, 2):
        out = tmp_path / f"{seed}.tsv"
        build_graph(
            embeddings=folder,
            out=out,
            similarity_threshold=0.6,
            lsh_splits=3,
            lsh_rounds=1,
            seed=seed,
        )
        texts.append(out.read_text())

    assert texts[0] != texts[1]


@pytest.mark.slow
def test_fresh_processes_write_the_same_bytes(write_embeddings, tmp_path):
    folder = write_embeddings(random_vectors(30))
    code = (
        "import sys; from pathlib import Path; from ser_nsl.graph.build import build_graph;"
        "build_graph(embeddings=Path(sys.argv[1]), out=Path(sys.argv[2]), similarity_threshold=0.5)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, folder, tmp_path / f"{seed}.tsv"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            stderr=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    for process in processes:
        _, log = process.communicate()
        assert process.returncode == 0, log.decode()

    assert (tmp_path / "1.tsv").read_bytes() == (tmp_path / "2.tsv").read_bytes()
    assert (tmp_path / "1.tsv").stat().st_size > 0


def test_splits_are_joined(write_embeddings, tmp_path):
    write_embeddings({"a": [1, 0], "c": [3, 0]}, split="train")
    folder = write_embeddings({"b": [2, 0.0]}, split="val")

    alone = build_graph(embeddings=folder, out=tmp_path / "alone.tsv")
    both = build_graph(embeddings=folder, out=tmp_path / "both.tsv", splits=("train", "val"))

    counts = [tuple(result.counts.values()) for result in (alone, both)]
    assert counts == [("official", 2, 1, 2, 0), ("official", 3, 3, 6, 0)]


@pytest.mark.parametrize("builder", ["official", "exact", "approximate"])
def test_graph_without_edges_is_refused_and_an_earlier_one_stays(
    builder, write_embeddings, tmp_path
):
    out = tmp_path / "graph.tsv"
    settings = {"embeddings": write_embeddings(ON_PAPER), "out": out, "builder": builder}
    build_graph(similarity_threshold=0.5, **settings)
    earlier = out.read_text()

    rule = "similarity_threshold: .* 5 clips reach 0.97"
    with pytest.raises(InputError, match=rule) as error:
        build_graph(similarity_threshold=0.97, **settings)
    assert out.read_text() == earlier != ""
    assert ("--builder exact" in str(error.value)) == (builder != "exact")


def test_one_clip_makes_no_graph(write_embeddings, tmp_path):
    with pytest.raises(InputError, match="embeddings: .* holds 1 clip; an edge needs two"):
        build_graph(embeddings=write_embeddings({"a": [1.0]}), out=tmp_path / "graph.tsv")


def test_feature_of_another_type_is_not_called_damage(tmp_path):
    folder = tmp_path / "embeddings"
    folder.mkdir()
    number = tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))
    example = tf.train.Example(features=tf.train.Features(feature={"id": number}))
    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001.tfrecord")) as file:
        file.write(example.SerializeToString())

    with pytest.raises(InputError, match="feature 'id' must be of type string; received int64"):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"similarity_threshold": 1.01}, "similarity_threshold: .* received 1.01"),
        ({"similarity_threshold": -1.01}, "similarity_threshold: .* received -1.01"),
        ({"similarity_threshold": float("nan")}, "similarity_threshold: .* received nan"),
        ({"similarity_threshold": "auto"}, "target_degree: .* received none"),
        ({"target_degree": 2.0}, "target_degree: .* received 2.0 .* 0.99"),
        ({"similarity_threshold": "auto", "target_degree": 0.0}, "target_degree: .* received 0.0"),
        ({"similarity_threshold": "auto", "target_degree": 5.0}, "target_degree: .* 5 clips"),
        ({"lsh_splits": -1}, "lsh_splits: must be 0 or more; received -1"),
        ({"lsh_rounds": 0}, "lsh_rounds: must be 1 or more; received 0"),
        ({"max_neighbors": 0}, "max_neighbors: must be 1 or more; received 0"),
        ({"cells_per_clip": 0}, "cells_per_clip: must be 1 or more; received 0"),
        ({"splits": ("train", "test")}, "splits: the test split"),
        ({"splits": ("val",)}, "holds no records of the split 'val'"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message, write_embeddings, tmp_path):
    folder = write_embeddings(ON_PAPER)
    write_embeddings(ON_PAPER, split="test")

    with pytest.raises(InputError, match=message):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv", **setting)
    assert not (tmp_path / "graph.tsv").exists()


def write_speakers(
    path: Path, speakers: dict[str, str], emotions: Mapping[str, str] | None = None
) -> Path:
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"utterance_id": name, "path": f"{name}.wav", "speaker": speaker}
        | {"emotion": emotions[name] if emotions else "joy"}
        | {"split": "train", "duration_seconds": 1.0, "corpus": "csv"}
        for name, speaker in speakers.items()
    ]
    write_manifest(pd.DataFrame(rows), path)
    return path


@pytest.mark.parametrize("builder", ["official", "exact", "approximate"])
@pytest.mark.parametrize("limit", [None, 2])
def test_across_speakers_as_when_selected_afterwards(builder, limit, write_embeddings, tmp_path):
    vectors = random_vectors(60)
    speakers = {name: f"s{i % 7}" for i, name in enumerate(vectors)}
    manifest = write_speakers(tmp_path / "manifest.csv", speakers)
    settings = {"embeddings": write_embeddings(vectors), "similarity_threshold": 0.3}
    settings |= {"lsh_splits": 0, "cells_per_clip": 40}
    build_graph(out=tmp_path / "whole.tsv", builder="exact", **settings)
    select_edges(
        graph=tmp_path / "whole.tsv",
        manifest=manifest,
        out=tmp_path / "selected.tsv",
        across_speakers=True,
    )
    expected = read_graph(tmp_path / "selected.tsv")
    if limit:
        ids = sorted(vectors)
        nearest = number_edges(expected, ids).nearest(limit).in_order()
        table_of_nearest = tmp_path / "nearest.tsv"
        write_graph(table_of_nearest, ids, [nearest])
        expected = read_graph(table_of_nearest)

    made = build_graph(
        out=tmp_path / "across.tsv",
        builder=builder,
        across_speakers=True,
        manifest=manifest,
        max_neighbors=limit,
        **settings,
    )

    pd.testing.assert_frame_equal(read_graph(tmp_path / "across.tsv"), expected)
    assert made.counts["edge_lines"] == len(expected) > 60
    assert made.counts.get("recall", 1) == 1


@pytest.mark.parametrize("builder", ["official", "exact", "approximate"])
@pytest.mark.parametrize("purity", [None, 0.5])
def test_the_oracle_s_nearest_as_when_chosen_among_all_pairs(
    builder, purity, write_embeddings, tmp_path
):
    """By the way that sweeps took before: all pairs, of one emotion, of which the nearest."""
    random = np.random.default_rng(0)
    names = [f"clip{i:02d}" for i in range(60)]
    values = random.integers(-2, 3, (60, 3)) + [5, 0, 0]  # many cosines are equal
    vectors = dict(zip(names, values.tolist(), strict=True))
    speakers = {name: f"s{i % 7}" for i, name in enumerate(names)}
    emotions = {name: random.choice(["joy", "fear", "anger", ""]) for name in names}
    manifest = write_speakers(tmp_path / "manifest.csv", speakers, emotions)
    across = {"across_speakers": True, "manifest": manifest, "similarity_threshold": 0.0}
    across |= {"embeddings": write_embeddings(vectors), "lsh_splits": 0, "cells_per_clip": 40}
    every, right, before = (tmp_path / f"{name}.tsv" for name in ("every", "right", "before"))
    build_graph(out=every, builder="exact", **across)
    control_graph(graph=every, manifest=manifest, out=right, kind="oracle")
    select_edges(graph=right, manifest=manifest, out=before, nearest=3)

    after = tmp_path / "after.tsv"
    made = build_graph(out=after, builder=builder, within_emotions=True, max_neighbors=3, **across)

    assert made.counts.get("recall", 1) == 1
    for graph in (before, after):  # both directions of each edge, as training takes it
        mixed = {"out": graph.with_suffix(".mixed"), "purity": purity, "seed": 3}
        control_graph(graph=graph, manifest=manifest, kind="oracle", **mixed)
    if purity is None:
        assert before.with_suffix(".mixed").read_bytes() == before.read_bytes()
    assert before.with_suffix(".mixed").read_bytes() == after.with_suffix(".mixed").read_bytes()
    assert len(read_graph(after)) <= 3 * 60 < len(read_graph(right))


def test_threshold_for_a_degree_counts_one_emotion_only(write_embeddings, tmp_path):
    speakers = dict(zip("abcde", "vxxyz", strict=True))
    emotions = dict(zip("abcde", "jfffj", strict=True))  # f: b-d, c-d; j: a-e
    settings = {"embeddings": write_embeddings(ON_PAPER), "similarity_threshold": "auto"}
    settings |= {"across_speakers": True, "within_emotions": True}
    settings |= {"manifest": write_speakers(tmp_path / "manifest.csv", speakers, emotions)}

    made = build_graph(out=tmp_path / "graph.tsv", target_degree=0.4, **settings)

    assert made.counts["edges"] == 1
    with pytest.raises(InputError, match=r"target_degree: .* at most 1.2, .* received 2.0"):
        build_graph(out=tmp_path / "more.tsv", target_degree=2.0, **settings)


def test_auto_is_exact_where_edges_are_limited(write_embeddings, tmp_path):
    manifest = write_speakers(tmp_path / "manifest.csv", dict(zip("abcde", "xyxyx", strict=True)))
    across = {"across_speakers": True, "manifest": manifest}
    settings = {"embeddings": write_embeddings(ON_PAPER), "similarity_threshold": 0.5}

    made = build_graph(out=tmp_path / "across.tsv", **across, **settings)
    limited = build_graph(out=tmp_path / "limited.tsv", max_neighbors=1, **settings)

    assert (made.counts["builder"], limited.counts["builder"]) == ("exact", "exact")
    lines = (tmp_path / "across.tsv").read_text().splitlines()
    pairs = {tuple(line.split("\t")[:2]) for line in lines}
    assert pairs == {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "c")}


def test_threshold_for_a_degree_counts_other_speakers_only(write_embeddings, tmp_path):
    speakers = dict(zip("abcde", "vxxyz", strict=True))  # b-c, the likest pair, is of one speaker
    result = build_graph(
        embeddings=write_embeddings(ON_PAPER),
        out=tmp_path / "graph.tsv",
        similarity_threshold="auto",
        target_degree=0.8,
        across_speakers=True,
        manifest=write_speakers(tmp_path / "manifest.csv", speakers),
    )

    assert result.counts["similarity_threshold"] == pytest.approx(0.8)
    assert result.counts["edges"] == 2


@pytest.mark.parametrize(
    ("speakers", "setting", "message"),
    [
        ("xyxyx", {"across_speakers": True, "manifest": None}, "manifest: .* received none"),
        (
            "xyxyx",
            {"across_speakers": False},
            "manifest: .* across_speakers .*only; .*manifest.csv",
        ),
        ("xyxyx", {"within_emotions": True, "similarity_threshold": 1.0}, "no two .* one emotion"),
        ("xyxy", {}, r"manifest.csv lacks clips .*embeddings .*1; first: e"),
        ("xyx x", {}, r"across_speakers: .* no speaker .*1; first: d"),
        ("xxxxx", {}, "similarity_threshold: no two .* different speakers reach 0.5"),
        (
            "xxxxy",
            {"similarity_threshold": "auto", "target_degree": 2.0},
            "target_degree: .* at most 1.6, .* received 2.0",
        ),
    ],
)
def test_speakers_that_do_not_fit_are_refused(
    speakers, setting, message, write_embeddings, tmp_path
):
    known = {name: speaker.strip() for name, speaker in zip("abcde", speakers, strict=False)}
    manifest = write_speakers(tmp_path / "manifest.csv", known)
    settings = {"across_speakers": True, "manifest": manifest, "similarity_threshold": 0.5}

    with pytest.raises(InputError, match=message):
        build_graph(
            embeddings=write_embeddings(ON_PAPER),
            out=tmp_path / "graph.tsv",
            **settings | setting,
        )


@pytest.mark.parametrize("builder", ["official", "exact", "approximate"])
def test_weights_that_round_to_0_are_left_out(builder, write_embeddings, tmp_path):
    vectors = ON_PAPER | {"f": [4e-7, -1], "g": [6e-7, -1]}  # cosines with a: 4e-7 and 6e-7
    build_graph(
        embeddings=write_embeddings(vectors),
        out=tmp_path / "graph.tsv",
        builder=builder,
        similarity_threshold=0,
        lsh_splits=0,
    )

    graph = read_graph(tmp_path / "graph.tsv").set_index(["source", "target"])["weight"]
    assert graph.min() == 1e-6
    assert ("a", "g") in graph.index and ("a", "f") not in graph.index


@pytest.mark.parametrize("builder", ["official", "exact", "approximate"])
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"a": [1, 0], "b": [1, np.nan]}, "finite.* b\\b"),
        ({"a": [1, 0], "b": [np.inf, 1]}, "finite.* b\\b"),
        ({"a": [1, 0], "b": [1, 0, 0]}, "2 numbers.* b\\b"),
        ({"a": [1, 0], "c": [1], "b": []}, "numbers.* b\\b"),
        (
            {"a": [1, 0], "b": [0, 0], "c": [0, 0], "d": [0, 0], "e": [0, 0], "g": [0, 0]},
            "all zero.* c, e\\b",
        ),
        ({"a": [1, 0], "b\tc": [1, 1]}, "without tab and line break\\b"),
        ({"a": [1, 0], "b\nc": [1, 1]}, "without tab and line break\\b"),
        ({"": [1, 0], "b": [1, 1]}, "the id '' is missing"),
        ({}, "at least one .* 2 files"),
    ],
)
def test_unusable_embeddings_are_named_and_an_earlier_graph_stays(
    vectors, message, builder, write_embeddings, tmp_path
):
    out = tmp_path / "graph.tsv"
    build_graph(embeddings=write_embeddings(ON_PAPER), out=out, similarity_threshold=0.5)
    earlier = out.read_text()

    with pytest.raises(InputError, match=rf"train-0000\d-of-00002\.tfrecord: .*{message}"):
        build_graph(embeddings=write_embeddings(vectors), out=out, builder=builder)
    assert out.read_text() == earlier != ""


def test_duplicate_ids_are_named(write_embeddings, tmp_path):
    write_embeddings(ON_PAPER, split="val")
    folder = write_embeddings({"x": [1, 2], "y": [2, 3], "d": [1, 2], "b": [3, 4]})

    message = "val-0000.*: the id '[bd]' is"
    with pytest.raises(InputError, match=message):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv", splits=("train", "val"))


@pytest.mark.parametrize("second", ["fedcba9876543210:fc1", "0123456789abcdef:layer3", ""])
def test_two_upstreams_are_refused_before_anything_is_compared(
    second, write_embeddings, tmp_path, monkeypatch
):
    write_embeddings({"a": [1, 0]}, split="train", upstream="0123456789abcdef:fc1")
    folder = write_embeddings({"b": [2, 0.0]}, split="val", upstream=second)
    monkeypatch.setattr(nsl.tools, "build_graph_from_config", None)

    message = (
        f"{folder}/val.*: .* one upstream and layer, 0123456789abcdef:fc1 .* "
        rf"{second or 'unknown'}\. .* b\b"
    )
    with pytest.raises(InputError, match=message):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv", splits=("train", "val"))


def test_features_are_not_taken_for_embeddings(write_features, tmp_path):
    folder = write_features({"a": (1.0, 0), "b": (2.0, 1)})

    with pytest.raises(InputError, match="train-00000.*: .*'embedding'"):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv")


def test_cut_records_are_refused(write_embeddings, tmp_path):
    folder = write_embeddings(ON_PAPER)
    shard = min(folder.glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])

    with pytest.raises(InputError, match=f"{shard.name}: is cut off or damaged"):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv")
