from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ser_nsl.corpora.manifest import COLUMNS
from ser_nsl.corpora.manifest import write_manifest as write_table
from ser_nsl.errors import InputError
from ser_nsl.graph.controls import control_graph

Graph = dict[tuple[str, str], float]


@pytest.fixture
def control(write_graph, tmp_path):
    """Returns a function that makes a control; of its edges, and how many there were of what."""

    def control(graph: Graph, clips: dict[str, tuple[str, str]], **settings) -> tuple[Graph, dict]:
        rows = [
            dict.fromkeys(COLUMNS, "")
            | {"utterance_id": name, "path": f"{name}.wav", "speaker": speaker}
            | {"emotion": emotion, "split": "train", "duration_seconds": 1.0, "corpus": "csv"}
            for name, (speaker, emotion) in clips.items()
        ]
        write_table(pd.DataFrame(rows), tmp_path / "manifest.csv")
        lines = [f"{a} {b} {weight:f}" for (a, b), weight in graph.items()]
        out = tmp_path / "control.tsv"
        arguments = {"graph": write_graph(*lines), "manifest": tmp_path / "manifest.csv"}
        result = control_graph(**arguments, out=out, **settings)
        lines = [line.split("\t") for line in out.read_text().splitlines()]
        assert lines == sorted(lines) and all(a != b for a, b, _ in lines)
        directed = {(a, b): float(weight) for a, b, weight in lines}
        assert len(directed) == len(lines)
        assert directed == {(b, a): weight for (a, b), weight in directed.items()}
        return {(a, b): weight for (a, b), weight in directed.items() if a < b}, result.counts

    return control


def make_clips(count: int, speakers: int, emotions: str) -> dict[str, tuple[str, str]]:
    random = np.random.default_rng(count)
    return {
        f"clip{i:03d}": (f"speaker{random.integers(speakers)}", random.choice([*emotions]))
        for i in range(count)
    }


def make_graph(clips, count: int, allowed=lambda one, other: True) -> Graph:
    """Edges of different weights, drawn from all that are allowed."""
    random = np.random.default_rng(count)
    names, graph = sorted(clips), {}
    while len(graph) < count:
        a, b = sorted(random.choice(names, 2, replace=False))
        if allowed(clips[a], clips[b]):
            graph.setdefault((a, b), round(0.5 + len(graph) * 1e-5, 6))
    return graph


def degrees(graph: Graph) -> Counter:
    return Counter(end for pair in graph for end in pair)


def within_class(graph: Graph, clips) -> float:
    return np.mean([clips[a][1] == clips[b][1] != "" for a, b in graph])


def differ(place: int):
    return lambda one, other: one[place] != other[place]


def alike(place: int):
    return lambda one, other: one[place] == other[place]


def test_random_keeps_degrees_and_weights_but_not_the_edges(control):
    clips = make_clips(200, 4, "abcd")
    graph = make_graph(clips, 2_000)

    found, counts = control(graph, clips, kind="random")

    assert degrees(found) == degrees(graph)
    assert sorted(found.values()) == sorted(graph.values())
    # As many edges are the same as by chance: 2,000 of 19,900 pairs are joined.
    common = found.keys() & graph.keys()
    assert 0.07 < len(common) / 2_000 < 0.13
    assert sum(found[pair] == graph[pair] for pair in common) < 5
    assert counts == {
        "edges_before": 2_000,
        "edges": 2_000,
        "edges_as_before": len(common),
        "within_class": pytest.approx(within_class(found, clips), abs=1e-4),
        "clips_without_edge": 0,
    }


def test_random_deals_weights_anew_where_few_edges_can_move(control):
    clips = make_clips(20, 1, "a")
    graph = make_graph(clips, 180)

    found, counts = control(graph, clips, kind="random")

    assert counts["edges_as_before"] > 160
    assert sum(found.get(pair) == weight for pair, weight in graph.items()) < 10


def test_random_is_seeded(control):
    clips = make_clips(40, 3, "ab")
    graph = make_graph(clips, 100)

    first, again, other = (control(graph, clips, kind="random", seed=n)[0] for n in (1, 1, 2))
    assert first == again
    assert first.keys() != other.keys()


@pytest.mark.slow
def test_random_reaches_all_graphs_of_the_same_degrees_equally_often(control):
    # On five clips with two neighbours each, rings in one of twelve orders.
    clips = dict.fromkeys("abcde", ("", "joy"))
    ring = dict.fromkeys([("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "e")], 0.5)
    found = Counter()
    for seed in range(120):
        try:
            found[frozenset(control(ring, clips, kind="random", seed=seed)[0])] += 1
        except InputError:
            found["the same"] += 1

    assert len(found) == 12
    assert min(found.values()) > 2 and max(found.values()) < 25  # 10 on average


def test_random_joins_speakers_only_where_the_graph_does(control):
    clips = make_clips(60, 3, "ab")
    across = make_graph(clips, 300, allowed=differ(0))
    anyhow = make_graph(clips, 300)

    found, _ = control(across, clips, kind="random")
    assert all(clips[a][0] != clips[b][0] for a, b in found)
    assert degrees(found) == degrees(across)
    found, _ = control(anyhow, clips, kind="random")
    assert np.mean([clips[a][0] == clips[b][0] for a, b in found]) > 0.2


def test_random_forgets_pure_classes(control):
    clips = make_clips(300, 5, "abcd")
    graph = make_graph(clips, 1_500, allowed=alike(1))
    sizes = Counter(clips[end][1] for pair in graph for end in pair)
    chance = sum(size**2 for size in sizes.values()) / sizes.total() ** 2

    found, counts = control(graph, clips, kind="random")

    assert within_class(graph, clips) == 1
    assert within_class(found, clips) == pytest.approx(chance, abs=0.05)
    assert counts["within_class"] == pytest.approx(within_class(found, clips), abs=1e-4)


def test_oracle_keeps_edges_inside_an_emotion_only(control):
    emotions = ("x", "x", "y", "y", "", "", "x")
    clips = {name: ("", emotion) for name, emotion in zip("abcdefg", emotions, strict=True)}
    graph = {("a", "b"): 0.5, ("a", "c"): 0.9, ("c", "d"): 0.25, ("e", "f"): 1.0, ("a", "g"): 0.1}

    found, counts = control(graph, clips, kind="oracle")

    assert found == {("a", "b"): 0.5, ("c", "d"): 0.25, ("a", "g"): 0.1}
    assert counts == {
        "edges_before": 5,
        "edges": 3,
        "edges_as_before": 3,
        "within_class": 1.0,
        "clips_without_edge": 2,
    }


@pytest.mark.parametrize("purity", [0, 0.003, 0.25, 0.5, 0.9, 1])
def test_purity_is_as_asked_and_degrees_stay(purity, control):
    clips = make_clips(120, 4, "abcd") | {f"other{i}": (f"speaker{i % 4}", "") for i in range(9)}
    graph = make_graph(clips, 900, allowed=differ(0))
    right, _ = control(graph, clips, kind="oracle")

    found, counts = control(graph, clips, kind="oracle", purity=purity)

    wrong = {pair: weight for pair, weight in found.items() if pair not in right}
    assert len(found) - len(wrong) == pytest.approx(purity * len(right), abs=0.5)
    assert within_class(wrong, clips) == 0 if wrong else purity == 1
    assert degrees(found) == degrees(right)
    assert sorted(found.values()) == sorted(right.values())
    assert all(clips[a][0] != clips[b][0] and clips[a][1] and clips[b][1] for a, b in found)
    assert counts["edges_as_before"] == len(found.keys() & graph.keys())
    assert counts["within_class"] == pytest.approx(purity, abs=0.5 / len(right) + 1e-4)


def test_wrong_edges_are_drawn_anew_by_each_seed(control):
    clips = make_clips(60, 4, "abc")
    graph = make_graph(clips, 300)

    settings = {"kind": "oracle", "purity": 0.5}
    first, again, other = (control(graph, clips, seed=n, **settings)[0] for n in (1, 1, 2))
    assert first == again
    assert first.keys() != other.keys()


@pytest.mark.parametrize("purity", [0, 0.4])
def test_edges_keep_an_end_where_none_can_be_swapped(purity, control):
    # The other emotion has no edge of its own, so that swaps find nothing.
    clips = make_clips(80, 4, "aaab") | {f"other{i}": ("", "") for i in range(9)}
    graph = make_graph(clips, 200, allowed=lambda one, other: "a" in (one[1], other[1]))
    right, _ = control(graph, clips, kind="oracle")

    found, _ = control(graph, clips, kind="oracle", purity=purity)

    assert within_class(found, clips) == pytest.approx(purity, abs=0.5 / len(right))
    assert all(clips[a][1] and clips[b][1] for a, b in found)
    former = {weight: pair for pair, weight in right.items()}
    kept = Counter(tuple(end in pair for end in former[weight]) for pair, weight in found.items())
    assert kept[True, True] == round(purity * len(right)) and not kept[False, False]
    assert kept[True, False] == pytest.approx(kept[False, True], rel=0.5)


def test_a_single_edge_can_be_made_wrong(control):
    clips = {name: ("", emotion) for name, emotion in zip("abc", "xxy", strict=True)}

    found, _ = control({("a", "b"): 0.5, ("a", "c"): 0.9}, clips, kind="oracle", purity=0)
    assert list(found.values()) == [0.5]
    assert {"c"} < {*next(iter(found))}


@pytest.mark.parametrize(
    ("graph", "emotions", "settings", "message"),
    [
        ({}, "xxy", {"kind": "random"}, "has no edge"),
        ({("a", "a"): 1}, "xxy", {"kind": "random"}, "graph.tsv: line 1 .* different"),
        ({("a", "x"): 1}, "xxy", {"kind": "random"}, "not in .*manifest.csv .* x"),
        ({("a", "b"): 1, ("b", "c"): 1}, "xxy", {"kind": "random"}, "2 edges .* swapped"),
        ({("a", "c"): 1}, "xxy", {"kind": "oracle"}, "graph.tsv: no edge"),
        (
            {("a", "b"): 1},
            "xxy",
            {"kind": "random", "purity": 0.5},
            "purity: .* received 0.5 for random",
        ),
        ({("a", "b"): 1}, "xxy", {"kind": "oracle", "purity": 1.5}, "purity: .* received 1.5"),
        ({("a", "b"): 1}, "xxx", {"kind": "oracle", "purity": 0.0}, "purity: of 1 edges"),
    ],
)
def test_what_has_no_control_is_refused(graph, emotions, settings, message, control, tmp_path):
    clips = {name: ("", emotion) for name, emotion in zip("abc", emotions, strict=True)}

    with pytest.raises(InputError, match=message):
        control(graph, clips, **settings)
    assert not (tmp_path / "control.tsv").exists()
