import os
import subprocess
import sys

import neural_structured_learning as nsl
import numpy as np
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph.build import build_graph

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
    assert result.counts == {"clips": 5, "edges": 3, "clips_without_edge": 1}


@pytest.mark.parametrize(("splits", "rounds"), [(0, 1), (2, 4), (3, 1)])
def test_edges_are_those_of_the_official_builder(splits, rounds, write_embeddings, tmp_path):
    folder = write_embeddings(random_vectors(40))
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
    write_embeddings({"a": [1, 0]}, split="train")
    folder = write_embeddings({"b": [2, 0.0]}, split="val")

    alone = build_graph(embeddings=folder, out=tmp_path / "alone.tsv")
    both = build_graph(embeddings=folder, out=tmp_path / "both.tsv", splits=("train", "val"))

    assert alone.counts == {"clips": 1, "edges": 0, "clips_without_edge": 1}
    assert both.counts == {"clips": 2, "edges": 1, "clips_without_edge": 0}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"similarity_threshold": 1.01}, "similarity_threshold: .* received 1.01"),
        ({"similarity_threshold": -1.01}, "similarity_threshold: .* received -1.01"),
        ({"similarity_threshold": float("nan")}, "similarity_threshold: .* received nan"),
        ({"lsh_splits": -1}, "lsh_splits, lsh_rounds: .* received -1, 4"),
        ({"lsh_rounds": 0}, "lsh_splits, lsh_rounds: .* received 2, 0"),
        ({"splits": ("train", "test")}, "splits: the test split must not shape the graph"),
        ({"splits": ("val",)}, "holds no records of the split 'val'"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message, write_embeddings, tmp_path):
    folder = write_embeddings(ON_PAPER)
    write_embeddings(ON_PAPER, split="test")

    with pytest.raises(InputError, match=message):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv", **setting)
    assert not (tmp_path / "graph.tsv").exists()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"a": [1, 0], "b": [1, np.nan]}, "the embedding of b holds NaN"),
        ({"a": [1, 0], "b": [1, 0, 0]}, "the embedding of b has 3 numbers, .* have 2"),
        (
            {"a": [1, 0], "b": [0, 0], "c": [0, 0], "d": [0, 0], "e": [0, 0]},
            r"4 embeddings are all zero.*\(first: c, e, b\)",
        ),
    ],
)
def test_unusable_embeddings_are_named(vectors, message, write_embeddings, tmp_path):
    with pytest.raises(InputError, match=message):
        build_graph(embeddings=write_embeddings(vectors), out=tmp_path / "graph.tsv")


def test_cut_records_are_refused(write_embeddings, tmp_path):
    folder = write_embeddings(ON_PAPER)
    shard = min(folder.glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])

    with pytest.raises(InputError, match=f"{shard.name}: is cut off or damaged"):
        build_graph(embeddings=folder, out=tmp_path / "graph.tsv")
