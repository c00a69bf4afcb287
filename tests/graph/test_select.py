from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.shards import shard_paths
from ser_nsl.corpora.manifest import COLUMNS
from ser_nsl.corpora.manifest import write_manifest as write_table
from ser_nsl.errors import InputError
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.graph.select import select_edges

SPEAKERS = {"a": "anna", "b": "anna", "c": "bert", "d": "bert", "e": "carl"}


@pytest.fixture
def select(write_graph, tmp_path):
    """Returns a function that selects edges; of the lines, and how many there were of what."""

    def select(*lines, speakers=SPEAKERS, **settings) -> tuple[list[str], dict]:
        rows = [
            dict.fromkeys(COLUMNS, "")
            | {"utterance_id": name, "path": f"{name}.wav", "speaker": speaker}
            | {"emotion": "joy", "split": "train", "duration_seconds": 1.0, "corpus": "csv"}
            for name, speaker in speakers.items()
        ]
        write_table(pd.DataFrame(rows), tmp_path / "manifest.csv")
        out = tmp_path / "selected.tsv"
        arguments = {"graph": write_graph(*lines), "manifest": tmp_path / "manifest.csv"}
        result = select_edges(**arguments, out=out, **settings)
        return out.read_text().replace("\t", " ").splitlines(), result.counts

    return select


def both(*edges: str) -> list[str]:
    return [*edges, *(" ".join([b, a, w]) for a, b, w in map(str.split, edges))]


def test_edges_between_speakers_are_kept_as_they_were(select):
    lines = ("e a 0.25", "c a 0.5", "a b 0.9", "b a 0.9", "a c 0.5000000", "d c 1", "b d")

    kept, counts = select(*lines, across_speakers=True)

    assert kept == ["a c 0.5000000", "b d", "c a 0.5", "e a 0.25"]
    assert counts == {"edges": 5, "dropped_within_speaker": 2, "kept": 3, "clips_without_edge": 0}


def test_the_nearest_are_found_among_other_speakers(select):
    edges = both("a b 0.9", "a c 0.5", "a e 0.4", "c e 0.8", "c d 0.9")

    kept, counts = select(*edges, across_speakers=True, nearest=1)

    assert kept == sorted(both("a c 0.5", "c e 0.8"))
    assert counts["dropped_within_speaker"] == 2 and counts["dropped_not_nearest"] == 1


def random_graph(seed: int) -> tuple[list[str], dict[str, str]]:
    """Lines with ties, one-way and doubled edges, and weights of many digits; and speakers."""
    random = np.random.default_rng(seed)
    ids = [f"{'aAüz'[i % 4]}{random.integers(100)}-{i}" for i in range(25)]
    weights = [*random.choice([0.1, 0.2, 0.9], 150), *random.choice([1e-7, 2e-7, 3e-7], 50)]
    pairs = [random.choice(ids, 2, replace=False) for _ in weights]
    lines = [f"{a} {b} {weight}" for (a, b), weight in zip(pairs, weights, strict=True)]
    return lines, {name: f"speaker{random.integers(4)}" for name in ids}


def neighbors_of(folder: Path) -> dict[str, list]:
    def neighbors(example):
        feature = example.features.feature
        ids = [name.decode() for name in feature["neighbor_ids"].bytes_list.value]
        return [*zip(ids, feature["neighbor_weights"].float_list.value, strict=True)]

    return {
        example.features.feature["id"].bytes_list.value[0].decode(): neighbors(example)
        for example in read_examples(shard_paths(folder, "train"))
    }


@pytest.mark.parametrize("nearest", [1, 3, 7])
@pytest.mark.parametrize("across_speakers", [False, True])
def test_training_finds_the_same_neighbours(
    nearest, across_speakers, select, write_features, tmp_path
):
    lines, speakers = random_graph(seed=nearest)
    features = write_features({name: (1.0, i % 2) for i, name in enumerate(speakers)})
    packed, sizes = [], []
    for limit in (0, nearest):
        kept, _ = select(*lines, speakers=speakers, across_speakers=across_speakers, nearest=limit)
        pack_neighbors(
            features=features,
            graph=tmp_path / "selected.tsv",
            out=tmp_path / f"packed{limit}",
            max_neighbors=nearest,
            form="indexed",
        )
        packed.append(neighbors_of(tmp_path / f"packed{limit}"))
        sizes.append(len(kept))

    assert packed[0] == packed[1]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("nearest", [1, 3])
def test_nearest_edges_agree_with_their_definition(nearest, select):
    lines, speakers = random_graph(seed=9)
    weights = defaultdict(float)
    for a, b, weight in map(str.split, lines):
        weights[a, b] = weights[b, a] = max(weights[a, b], float(weight))
    ranked = {
        a: sorted((b for x, b in weights if x == a), key=lambda b, a=a: (weights[a, b], b))
        for a, _ in weights
    }
    near = {(a, b) for a, b in weights if a in ranked[b][-nearest:] or b in ranked[a][-nearest:]}

    kept, counts = select(*lines, speakers=speakers, nearest=nearest)

    chosen = [line for line in lines if tuple(line.split()[:2]) in near]
    assert kept == sorted(chosen, key=lambda line: line.split()[:2])
    assert counts["kept"] == len(near) / 2 < counts["edges"]
    assert counts["clips_without_edge"] == 25 - len({a for a, _ in near})


def test_a_graph_of_ours_stays_as_it_is(select, write_embeddings, tmp_path):
    random = np.random.default_rng(0)
    speakers = {f"clip{i}": f"speaker{i % 3}" for i in range(12)}
    embeddings = write_embeddings({name: random.normal(size=4) for name in speakers})
    built = tmp_path / "built.tsv"
    build_graph(embeddings=embeddings, out=built, similarity_threshold=0.1)
    lines = built.read_text().splitlines()

    select(*random.permutation(lines), speakers=speakers, nearest=12)

    assert (tmp_path / "selected.tsv").read_bytes() == built.read_bytes()


def test_shards_of_a_graph_become_one(select, tmp_path):
    lines = both("a c 0.5", "b c 0.6", "b e 0.25")
    expected = select(*lines, across_speakers=True)
    shards = tmp_path / "shards"
    shards.mkdir()
    for i, part in enumerate((lines[4:], lines[:4])):
        text = "".join("\t".join(line.split()) + "\n" for line in part)
        (shards / f"graph-0000{i}-of-00002.tsv").write_text(text)

    result = select_edges(
        graph=shards,
        manifest=tmp_path / "manifest.csv",
        out=tmp_path / "selected.tsv",
        across_speakers=True,
    )

    kept = (tmp_path / "selected.tsv").read_text().replace("\t", " ").splitlines()
    assert (kept, result.counts) == expected


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["a b 0.9"], {"across_speakers": True}, "no edge is kept .*within_speaker': 1"),
        ([], {}, "has no edge"),
        (["a c 0.9", "c c 1"], {}, r"graph.tsv: line 2 .* different clips"),
        (["a x 0.9"], {}, r"graph.tsv: .* not in .*manifest.csv .* x\b"),
        (["a e 0.9"], {"nearest": -2}, "nearest: must be 0 or more; received -2"),
        (
            ["a e 0.9", "a c 1"],
            {"across_speakers": True, "speakers": SPEAKERS | {"e": "", "d": ""}},
            r"across_speakers: .* no speaker .*manifest.csv .* e\b",
        ),
    ],
)
def test_what_cannot_be_selected_is_said_and_nothing_lost(
    lines, settings, message, select, tmp_path
):
    former = select("a e 0.9")[0]

    with pytest.raises(InputError, match=message):
        select(*lines, **settings)
    assert (tmp_path / "selected.tsv").read_text().replace("\t", " ").splitlines() == former


def test_clips_without_speaker_may_stay_where_speakers_do_not_matter(select):
    assert select("a e 0.9", speakers={"a": "", "e": ""}, nearest=1)[0] == ["a e 0.9"]
