"""Seven training clips whose every number can be checked on paper, a validation and a test clip."""

import csv
import io
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.graph.embedding_map import draw_sample, lay_out
from ser_nsl.graph.shuffles import shuffle_labels
from ser_nsl.graph.statistics import ClipGraph
from ser_nsl.reports import figures
from ser_nsl.reports.inspection import inspect_graph
from tests.reports.page import Page

ROWS = [  # the three of anger are a clique, and joy's j1 is too near to a1 and a2
    "a1,anger,s1,train",
    "a2,anger,s2,train",
    "a3,anger,s1,train",
    "j1,joy,s1,train",
    "j2,joy,s2,train",
    "k1,calm,s3,train",
    "l1,calm,s3,train",
    "v1,joy,s8,val",
    "t1,anger,s9,test",
]
EDGES = {"a1 a2": 0.9, "a1 a3": 0.8, "a2 a3": 0.7, "a1 j1": 0.85, "a2 j1": 0.95, "j1 j2": 0.6}


def write_inputs(folder: Path, rows=ROWS, edges=EDGES, *, vectors=None, splits=None) -> dict:
    """Writes a corpus with its graph, and returns the stage's arguments for them."""
    table = pd.read_csv(
        io.StringIO("\n".join(["utterance_id,emotion,speaker,split", *rows])), keep_default_na=False
    )
    table["path"] = "wav/" + table["utterance_id"] + ".wav"
    table = table.assign(gender="", duration_seconds=1.0, corpus="emodb")
    table.to_csv(folder / "target.csv", index=False)
    (folder / "embeddings").mkdir(exist_ok=True)
    for split, clips in table.groupby("split"):
        with ShardWriter(folder / "embeddings", split, 2) as writer:
            for clip in clips["utterance_id"]:
                random = np.random.default_rng(sum(clip.encode()))
                vector = random.normal(size=4) if vectors is None else vectors[clip]
                writer.write(embedding_example(clip, np.array(vector, np.float32)))
    lines = [
        f"{a}\t{b}\t{weight:f}\n"
        for pair, weight in edges.items()
        for a, b in (pair.split(), pair.split()[::-1])
    ]
    (folder / "graph.tsv").write_text("".join(lines))
    if splits is not None:
        settings = {"builder": "auto", "similarity_threshold": "auto", "splits": splits}
        counts = {"builder": "exact", "similarity_threshold": 0.51234567}
        record = {"stage": "build_graph", "settings": settings, "counts": counts, "seconds": 1.0}
        record |= {"inputs": {}, "paths": {}, "versions": {}}
        (folder / "graph.tsv.stage.json").write_text(json.dumps(record))
    return {
        "graph": folder / "graph.tsv",
        "manifest": folder / "target.csv",
        "embeddings": folder / "embeddings",
        "out": folder / "inspection",
    }


@pytest.fixture
def write(tmp_path):
    """Returns `write_inputs` for a folder of its own."""
    return partial(write_inputs, tmp_path)


def inspect(arguments, **settings) -> tuple[Page, dict, list[dict]]:
    result = inspect_graph(**arguments, **{"max_neighbors": 1, "shuffles": 50} | settings)
    page = (result.out / "inspection.html").read_text()
    facts = json.loads((result.out / "inspection.json").read_text(), parse_constant=pytest.fail)
    with (result.out / "wrong_edges.csv").open() as file:
        return Page(page), facts, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> tuple[Page, dict, list[dict]]:
    return inspect(write_inputs(tmp_path_factory.mktemp("seven")))


def test_known_answers(seven):
    page, facts, _ = seven
    every, used = facts["all_edges"], facts["training_edges"]

    def share(edges, name):
        return edges["shares"][name]["share"]

    assert (facts["clips"], facts["labelled"], facts["speakers"]) == (7, 7, 3)
    assert (every["edges"], every["isolated"], every["largest_degree"]) == (6, 2, 3)
    assert (every["mean_degree"], every["median_degree"]) == (pytest.approx(12 / 7), 2)
    assert every["clips_by_degree"] == {"0": 2, "1": 1, "2": 1, "3": 3}
    assert (every["components"], every["largest_components"]) == (3, [5])
    assert every["weights"] == {"smallest": 0.6, "median": pytest.approx(0.825), "largest": 0.95}
    assert share(every, "within_class") == 4 / 6
    assert share(every, "within_speaker") == 2 / 6  # a1 a3, a1 j1
    assert share(every, "within_class_across_speakers") == 3 / 4  # all but a2 j1
    assert share(every, "within_class_within_speaker") == 1 / 2
    assert every["shares"]["within_class_across_speakers"]["shuffled"]["edges"] == 4
    # Of 21 pairs 5 have one emotion and 5 one speaker: a1 a3 and k1 l1 have both.
    assert list(facts["chance"].values()) == [5 / 21, 5 / 21, 3 / 16, 2 / 5]
    # Nearest: a1-a2, a2-j1, a3-a1, j1-a2, j2-j1.
    assert used["edges"] == 4
    assert share(used, "within_class") == 3 / 4
    assert facts["emotions"]["names"] == ["anger", "calm", "joy"]
    assert facts["emotions"]["isolated"] == [0, 2, 0]
    assert facts["emotions"]["all_edges"] == [[6, 0, 2], [0, 0, 0], [2, 0, 2]]
    assert "7 clips, 6 edges. 66.7% of them join one emotion, where chance gives 23.8%" in page.text
    assert "anger 3 0 75.0% 80.0% 33.3%" in page.text


def test_most_wrong_edges_first(seven):
    page, facts, wrong = seven

    assert [(row["utterance_id_a"], row["utterance_id_b"]) for row in wrong] == [
        ("a2", "j1"),
        ("a1", "j1"),
    ]
    assert wrong[1] == {
        "weight": "0.850000",
        "same_speaker": "yes",
        "used_in_training": "no",
        "utterance_id_a": "a1",
        "utterance_id_b": "j1",
        "emotion_a": "anger",
        "emotion_b": "joy",
        "speaker_a": "s1",
        "speaker_b": "s1",
        "path_a": "wav/a1.wav",
        "path_b": "wav/j1.wav",
    }
    assert facts["wrong_edges"] == {
        "edges": 2,
        "between_speakers": 1,
        "used_in_training": 1,
        "written": 2,
    }
    assert "0.950 wav/a2.wav anger, speaker s2 wav/j1.wav joy, speaker s1 no yes" in page.text
    assert "Only edges between two speakers" in page.text


@pytest.mark.slow
def test_page_shows_thirty_and_the_file_has_a_thousand(write):
    # 60 clips of two emotions by one speaker, 5 of a third by another; all joined to all.
    rows = [f"c{i:02},{'xy'[i % 2]},s1,train" for i in range(60)]
    rows += [f"d{i},z,s2,train" for i in range(5)]
    ids = [row.partition(",")[0] for row in rows]
    weights = np.random.default_rng(0).permutation(65 * 64 // 2) / 10_000
    pairs = ((a, b) for i, a in enumerate(ids) for b in ids[i + 1 :])
    edges = {f"{a} {b}": weight for (a, b), weight in zip(pairs, weights, strict=True)}
    arguments = write(rows, edges)
    page, facts, wrong = inspect(arguments)
    html = (arguments["out"] / "inspection.html").read_text()
    shown = re.findall(r'<tr class="(not-)?across( later)?">', html)

    assert facts["wrong_edges"]["edges"] == 30 * 30 + 60 * 5
    assert len(wrong) == 1_000
    assert [row["weight"] for row in wrong] == sorted((r["weight"] for r in wrong), reverse=True)
    assert sum(later == "" for _, later in shown) == 30
    assert sum(within == "" for within, _ in shown) == 30  # between speakers
    assert "has the first 1,000." in page.text


def random_graph(emotions, speakers, *, pure: bool) -> ClipGraph:
    """A graph over clips that joins at random, or one emotion only."""
    clips = pd.DataFrame({"emotion": emotions, "speaker": speakers})
    ends = np.stack(np.triu_indices(len(clips), 1))
    same = clips["emotion"].to_numpy()[ends]
    kept = np.random.default_rng(3).random(ends.shape[1]) < 0.2
    ends = ends[:, kept & (same[0] == same[1]) if pure else kept]
    return ClipGraph(clips, ends, np.ones(ends.shape[1]))


def test_shuffled_labels():
    random = np.random.default_rng(0)
    emotions, speakers = random.choice(list("xyz"), 60), random.choice(list("pqrs"), 60)
    blind, pure = (random_graph(emotions, speakers, pure=pure) for pure in (False, True))
    for_blind, for_pure = shuffle_labels([blind, pure], shuffles=300, seed=0)

    def truth(graph):
        return np.mean(graph.emotions[graph.ends[0]] == graph.emotions[graph.ends[1]])

    blind_class, pure_class = for_blind["within_class"], for_pure["within_class"]
    assert blind_class.low < truth(blind) < blind_class.high
    assert 20 < blind_class.as_large < 280
    assert pure_class.high < 0.5 < truth(pure) == 1
    assert pure_class.as_large == 0
    sizes = np.unique(emotions, return_counts=True)[1]
    chance = (sizes * (sizes - 1)).sum() / (60 * 59)
    assert blind_class.mean == pytest.approx(chance, abs=0.005)
    assert pure_class.mean == pytest.approx(chance, abs=0.01)


def test_speakers_keep_their_emotions_when_shuffled():
    # The speaker determines the emotion, so nothing is left to shuffle within speakers.
    emotions = np.repeat(["x", "y"], 10)
    graph = random_graph(emotions, np.repeat(["p", "q", "r", "s"], 5), pure=True)
    (found,) = shuffle_labels([graph], shuffles=40, seed=0)

    across = found["within_class_across_speakers"]
    assert (across.mean, across.low, across.high, across.as_large) == (1, 1, 1, 40)
    assert found["within_class_within_speaker"].mean == 1
    assert found["within_class"].mean < 0.6
    assert found["within_speaker"].as_large < 40


def test_blank_labels_stay_blank_when_shuffled():
    clips = pd.DataFrame({"emotion": ["x", "x", "", ""], "speaker": ["", "", "", "p"]})
    pairs = ClipGraph(clips, np.array([[0, 2], [1, 3]]), np.ones(2))
    (found,) = shuffle_labels([pairs], shuffles=20, seed=0)

    assert found["within_class"].low == found["within_class"].high == 0.5
    assert found["within_speaker"].high == 0
    assert found["within_class_within_speaker"] is None


@pytest.mark.slow
def test_same_inputs_same_bytes(write, tmp_path):
    arguments = write()
    for name in ("first", "second"):
        inspect_graph(**arguments | {"out": tmp_path / name}, shuffles=50)

    for name in ("inspection.html", "inspection.json", "wrong_edges.csv"):
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "second" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_page_needs_no_network_and_no_script(seven):
    page, _, _ = seven

    assert page.loads_nothing()
    assert len(page.addresses) == 8


def test_test_clips_are_on_the_map_only(seven):
    page, facts, _ = seven

    assert facts["map"]["by_split"] == {"train": 7, "val": 1, "test": 1}
    assert set(facts["map"]["points"]) == {row.partition(",")[0] for row in ROWS}
    assert "Test clips are on the map because they are embedded; they are never" in page.text
    assert "9 clips: 7 train, 1 val, 1 test." in page.text


@pytest.mark.slow
def test_large_maps_are_drawn_from_a_sample(write):
    page, facts, _ = inspect(write(), map_clips=6)

    assert (facts["map"]["clips"], facts["map"]["embedded"]) == (6, 9)
    assert "6 clips, drawn at random from 9:" in page.text
    assert draw_sample(1_000, 10, seed=1).tolist() != draw_sample(1_000, 10, seed=2).tolist()


def test_clips_alike_lie_together():
    random = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 15)
    vectors = np.eye(3)[group] * random.uniform(1, 100, (45, 1)) + random.normal(0, 0.01, (45, 3))
    points = lay_out(vectors, seed=0)
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)

    nearest = np.argsort(distances, axis=1)[:, 1:6]
    assert (group[nearest] == group[:, np.newaxis]).all()
    assert np.array_equal(points, lay_out(vectors, seed=0))


@pytest.mark.parametrize("vectors", [np.eye(4), np.outer(np.arange(1, 9), [1, 2, 3])])
def test_too_few_or_equal_directions_make_no_map(vectors):
    assert lay_out(vectors, seed=0) is None


def test_splits_are_those_of_the_record(write):
    edges = EDGES | {"a1 v1": 0.6}
    with pytest.raises(InputError, match=r"graph.tsv: .* not in .*\(train\).* v1\b"):
        inspect(write(edges=edges))
    page, facts, _ = inspect(write(edges=edges, splits=["train", "val"]))

    assert (facts["splits"], facts["clips"]) == (["train", "val"], 8)
    assert "similarity at least 0.5123, builder exact" in page.text
    with pytest.raises(InputError, match=r"graph.tsv: .* not in .*\(train\).* v1\b"):
        inspect(write(edges=edges, splits=["train", "val"]), splits=("train",))


def test_graph_without_edges(write):
    page, facts, wrong = inspect(write(edges={}))

    assert "7 clips and no edge between them." in page.text
    assert "with a lower similarity threshold" in page.text
    assert facts["all_edges"]["shares"]["within_class"] == {"share": None, "shuffled": None}
    assert facts["emotions"]["isolated"] == [3, 2, 2]
    assert wrong == []


def test_graph_over_clips_without_emotion_or_speaker(write):
    rows = ["a1,anger,,train", "b1,,,val", "c1,,,val", "d1,,,val"]
    page, facts, wrong = inspect(write(rows, {"b1 c1": 0.5}), splits=("val",))

    assert "None of these clips has an emotion" in page.text
    assert "What edges join" not in page.text and "wrong" not in page.text
    assert "There is none: it takes five clips or more" in page.text
    assert (facts["labelled"], facts["map"], wrong) == (0, None, [])


def test_some_clips_without_emotion_or_speaker(write):
    rows = [re.sub(r"^(k1|l1),calm,s3", r"\1,,", row) for row in ROWS]
    page, facts, wrong = inspect(write(rows, EDGES | {"k1 l1": 0.99, "a1 k1": 0.98}))

    assert facts["emotions"]["names"] == ["anger", "joy", None]
    assert facts["emotions"]["clips"] == [3, 2, 2]
    assert facts["all_edges"]["shares"]["within_class"]["share"] == 4 / 8
    assert (
        "Clips without an emotion have none in common with any other, and stay without."
        in page.text
    )
    assert [row["weight"] for row in wrong] == ["0.950000", "0.850000"]


@pytest.mark.slow
def test_weights_of_other_embeddings(write):
    vectors = {row.partition(",")[0]: [1, i] for i, row in enumerate(ROWS)}
    fitting = {"a1 a2": 2**-0.5, "a2 a3": 3 / 10**0.5}
    page, facts, _ = inspect(write(edges=fitting, vectors=vectors))
    assert facts["largest_weight_difference"] <= 1e-6
    assert "Other embeddings" not in page.text

    page, facts, _ = inspect(write(edges=fitting | {"a1 a3": 0.9}, vectors=vectors))
    assert facts["largest_weight_difference"] == pytest.approx(0.9 - 5**-0.5, abs=1e-6)
    assert "differ from the cosine similarities of these embeddings, by up to 0.45" in page.text


def test_absolute_paths_of_clips_are_cut(write):
    arguments = write()
    manifest = arguments["manifest"]
    manifest.write_text(manifest.read_text().replace("wav/a2.wav", "/srv/secret/a2.wav"))
    page, _, wrong = inspect(arguments)

    assert wrong[0]["path_a"] == "a2.wav"
    assert "secret" not in page.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_neighbors": 0}, "max_neighbors: must be 1 or more; received 0"),
        ({"shuffles": 0}, "shuffles: must be 1 or more"),
        ({"map_clips": 0}, "map_clips: must be 1 or more"),
        ({"splits": ("trian",)}, r"splits: .*train, val, test; received \('trian'"),
        ({"splits": ()}, "splits: .*train, val, test"),
    ],
)
def test_settings_out_of_range(settings, message, write):
    with pytest.raises(InputError, match=message):
        inspect(write(), **settings)


def test_graph_of_another_corpus(write):
    with pytest.raises(InputError, match=r"graph.tsv: .* not in .*target.csv.* x1, y1\b"):
        inspect(write(edges={"x1 y1": 0.9}))


def test_split_without_clips(write):
    with pytest.raises(InputError, match="target.csv: .* val"):
        inspect(write(ROWS[:7]), splits=("val",))


def test_embeddings_of_another_corpus(write, tmp_path):
    arguments = write()
    other = pd.read_csv(arguments["manifest"]).query("utterance_id not in ['k1', 't1']")
    other.to_csv(arguments["manifest"], index=False)

    with pytest.raises(InputError, match=r"embeddings: .* not in .*target.csv.* k1, t1\b"):
        inspect(arguments)


def test_node_without_embedding(write):
    arguments = write()
    with ShardWriter(arguments["embeddings"], "train", 2) as writer:
        writer.write(embedding_example("a1", np.ones(4, np.float32)))

    with pytest.raises(InputError, match=r"embeddings: .* no embedding .*6; .* a2, a3, j1\b"):
        inspect(arguments)


def test_no_or_useless_embeddings(write, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing holds no records"):
        inspect(write() | {"embeddings": tmp_path / "nothing"})
    vectors = {row.partition(",")[0]: [0, 0] for row in ROWS}
    with pytest.raises(InputError, match="have a direction"):
        inspect(write(vectors=vectors))
    assert not (tmp_path / "inspection").exists()


def texts(svg: str) -> list[str]:
    return re.findall(r"<!-- (.+) -->", svg)


def test_matrix_shows_shares_and_chance():
    names = ["anger", "joy"]
    shares = pd.DataFrame([[0.75, 0.25], [np.nan, np.nan]], names, names)
    chance = pd.DataFrame([[0.4, 0.6], [0.5, 0.5]], names, names)

    found = texts(figures.shares_and_chance("x", shares, chance))
    assert found.count("–") == 2
    assert {"75%", "40%", "25%", "60%"} <= set(found)


def test_map_names_the_largest_of_many_labels():
    labels = [f"speaker{i:02}" for i in range(30) for _ in range(i + 1)] + [""]
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    found = texts(figures.labelled_map("x", points, labels, unknown="unknown"))

    assert found[-2:] == ["unknown", "9 more"]
    assert "speaker29" in found and "speaker09" in found and "speaker08" not in found


def test_map_with_edges_names_their_kinds():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    edges = {"right": np.array([[0], [1]]), "wrong": np.array([[0, 1], [2, 2]])}
    found = texts(figures.labelled_map("x", points, ["joy", "joy", "fear"], edges=edges))

    assert found[-4:] == ["fear", "joy", "right", "wrong"]


def test_weights_all_equal():
    assert "edges" in texts(figures.weight_histogram("x", {"all": np.ones(3), "used": np.ones(1)}))
