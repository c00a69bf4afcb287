import itertools
import random
from math import isnan
from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import (
    SHARES,
    GraphStatistics,
    edges_by_emotion,
    graph_statistics,
    read_clip_graph,
    wrong_edges,
)


def clips(**facts: str) -> pd.DataFrame:
    """Rows of a manifest from `id="emotion speaker"`."""
    rows = [(utterance_id, *words.split()) for utterance_id, words in facts.items()]
    return pd.DataFrame(rows, columns=["utterance_id", "emotion", "speaker"])


def statistics_of(
    path: Path, nodes: pd.DataFrame, max_neighbors: int | None = None
) -> GraphStatistics:
    graph = read_clip_graph(path, nodes, where="manifest.csv")
    if max_neighbors is not None:
        graph = graph.take(graph.nearest_edges(max_neighbors))
    return graph_statistics(graph)


FIVE = clips(a="joy s1", b="joy s1", c="joy s2", d="sorrow s2", e="sorrow s1")
FIVE_EDGES = (
    "a b 0.9",
    "b a 0.9",
    "a c 0.8",
    "c a 0.8",
    "c d 0.7",
    "d c 0.7",
    "b d 0.6",
    "d b 0.6",
)


def test_five_clips_by_hand(write_graph):
    statistics = statistics_of(write_graph(*FIVE_EDGES), FIVE)

    assert (statistics.clips, statistics.edges, statistics.isolated) == (5, 4, 1)
    assert statistics.degrees == (2, 2, 2, 2, 0)
    assert statistics.within_class == 2 / 4  # ab, ac
    assert statistics.within_speaker == 2 / 4  # ab, cd
    assert statistics.components == (4, 1)
    assert statistics.within_class_across_speakers == 1 / 2  # ac, but not bd
    assert statistics.within_class_within_speaker == 1 / 2  # ab, but not cd
    # Of ten pairs: ab, ac, bc, de share the emotion; ab, ae, be, cd the speaker.
    assert statistics.within_class_chance == 4 / 10
    assert statistics.within_speaker_chance == 4 / 10
    assert statistics.within_class_across_speakers_chance == 3 / 6  # ac, bc, de
    assert statistics.within_class_within_speaker_chance == 1 / 4  # ab


def test_edges_that_training_uses(write_graph):
    # Each clip's nearest: a-b both ways, c-a, and d's tie between a and b goes to b.
    graph = write_graph(
        *("a b 0.9", "b a 0.9", "a c 0.8", "c a 0.8", "c d 0.6"),
        *("d c 0.6", "d b 0.7", "b d 0.7", "d a 0.7", "a d 0.7"),
    )

    statistics = statistics_of(graph, FIVE, max_neighbors=1)

    assert statistics.edges == 3
    assert statistics.degrees == (2, 2, 1, 1, 0)
    assert statistics.within_speaker == 1 / 3  # ab, not ac and bd


def test_shares_of_nothing_are_nan(write_graph):
    nothing = statistics_of(write_graph(), FIVE)
    one_speaker = statistics_of(write_graph("a b 1", "b a 1"), clips(a="joy s", b="joy s"))

    assert (nothing.edges, nothing.isolated, nothing.degrees) == (0, 5, (0,) * 5)
    assert nothing.components == (1,) * 5
    assert isnan(nothing.within_class)
    assert one_speaker.within_speaker == one_speaker.within_speaker_chance == 1
    assert isnan(one_speaker.within_class_across_speakers)
    assert isnan(one_speaker.within_class_across_speakers_chance)


def test_one_clip(write_graph):
    alone = statistics_of(write_graph(), clips(a="joy s"))

    assert (alone.clips, alone.degrees, alone.components) == (1, (0,), (1,))
    assert isnan(alone.within_class_chance)


def test_clips_without_emotion_or_speaker_are_like_no_other(write_graph):
    nodes = FIVE.assign(emotion=["joy", "joy", "", "", "a"], speaker=["s1", "", "", "s1", "s1"])
    statistics = statistics_of(write_graph(*FIVE_EDGES), nodes)

    assert statistics.within_class == 1 / 4  # ab, but not cd
    assert statistics.within_class_chance == 1 / 10
    assert statistics.within_speaker == 0
    assert statistics.within_speaker_chance == 3 / 10  # ad, ae, de


def test_one_direction_or_other_weights_are_taken_as_the_packer_does(write_graph):
    nodes = clips(a="joy s", b="joy s", c="joy s")
    graph = read_clip_graph(write_graph("b a 0.5", "a b 0.7", "c a 0.6"), nodes, where="m.csv")

    assert graph.ends.tolist() == [[0, 0], [1, 2]]
    assert graph.weights.tolist() == [0.7, 0.6]
    assert graph.nearest_edges(1).tolist() == [0, 1]  # c has chosen a, which has chosen b


def test_edges_from_emotion_to_emotion(write_graph):
    nodes = FIVE.assign(emotion=["joy", "joy", "anger", "", "joy"])
    graph = read_clip_graph(write_graph(*FIVE_EDGES), nodes, where="m.csv")
    counts, chance = edges_by_emotion(graph)

    # ab inside joy, ac from joy to anger, cd from anger and bd from joy to the one without.
    assert counts.index.tolist() == counts.columns.tolist() == ["anger", "joy", ""]
    assert counts.to_numpy().tolist() == [[0, 1, 1], [1, 2, 1], [1, 1, 0]]
    assert chance.to_numpy().tolist() == [
        [0, 3 / 4, 1 / 4],
        [1 / 4, 2 / 4, 1 / 4],
        [1 / 4, 3 / 4, 0],
    ]


def test_a_clip_cannot_be_its_own_neighbour(write_graph):
    with pytest.raises(InputError, match=r"graph.tsv: line 2 .* different clips"):
        statistics_of(write_graph("a b 1", "a a 1"), FIVE)


def test_unknown_clips_are_named(write_graph):
    with pytest.raises(InputError, match=r"graph.tsv: .* not in manifest.csv .* z\b"):
        statistics_of(write_graph("a z 1", "z a 1"), FIVE)


@pytest.mark.parametrize("max_neighbors", [None, 1, 3])
def test_agrees_with_a_count_pair_by_pair(max_neighbors, write_graph):
    choose = random.Random(0)
    facts = {
        f"clip{i:02}": (choose.choice("xyz"), f"speaker{choose.randrange(5)}") for i in range(40)
    }
    weights = {
        pair: choose.choice([0.7, 0.8, 0.9])  # few values, so that there are ties
        for pair in itertools.combinations(facts, 2)
        if choose.random() < 0.15
    }
    chosen = set()
    for clip in facts:
        neighbors = [
            (weight, *({*pair} - {clip})) for pair, weight in weights.items() if clip in pair
        ]
        for _, other in sorted(neighbors, reverse=True)[:max_neighbors]:
            chosen.add(tuple(sorted((clip, other))))

    def shares(pairs):
        pairs = [(facts[a], facts[b]) for a, b in pairs]
        across = [a[0] == b[0] for a, b in pairs if a[1] != b[1]]
        within = [a[0] == b[0] for a, b in pairs if a[1] == b[1]]
        return (
            sum(a[0] == b[0] for a, b in pairs) / len(pairs),
            sum(a[1] == b[1] for a, b in pairs) / len(pairs),
            sum(across) / len(across),
            sum(within) / len(within),
        )

    def components(pairs):
        groups = [{clip} for clip in facts]
        for a, b in pairs:
            one, other = (next(group for group in groups if end in group) for end in (a, b))
            if one is not other:
                groups.remove(other)
                one |= other
        return sorted(map(len, groups), reverse=True)

    lines = [f"{a} {b} {w}" for (a, b), w in weights.items()]
    lines += [f"{b} {a} {w}" for (a, b), w in weights.items()]
    manifest = clips(**{clip: " ".join(words) for clip, words in facts.items()})
    found = statistics_of(write_graph(*lines), manifest, max_neighbors)

    assert found.edges == len(chosen)
    degrees = [sum(clip in pair for pair in chosen) for clip in facts]
    assert found.degrees == tuple(sorted(degrees, reverse=True))
    assert found.isolated == degrees.count(0)
    assert list(found.components) == components(chosen)
    assert (
        found.within_class,
        found.within_speaker,
        found.within_class_across_speakers,
        found.within_class_within_speaker,
    ) == pytest.approx(shares(chosen))
    assert (
        found.within_class_chance,
        found.within_speaker_chance,
        found.within_class_across_speakers_chance,
        found.within_class_within_speaker_chance,
    ) == pytest.approx(shares(itertools.combinations(facts, 2)))


def test_shares_beside_their_chance_as_a_table(write_graph):
    shares = statistics_of(write_graph(*FIVE_EDGES), FIVE).shares()

    assert tuple(shares.index) == SHARES
    assert shares.loc["within_class_across_speakers"].to_dict() == {"share": 1 / 2, "chance": 3 / 6}
    assert shares.loc["within_speaker"].to_dict() == {"share": 2 / 4, "chance": 4 / 10}


def test_graph_at_a_higher_threshold(write_graph):
    graph = read_clip_graph(write_graph(*FIVE_EDGES), FIVE)

    strict = graph_statistics(graph.take(graph.weights >= 0.8))

    assert (strict.edges, strict.isolated, strict.within_class) == (2, 2, 1)  # ab, ac


def test_graph_among_some_of_its_clips(write_graph):
    graph = read_clip_graph(write_graph(*FIVE_EDGES), FIVE)

    some = graph.among((graph.clips["utterance_id"] != "c").to_numpy())

    assert some.clips["utterance_id"].tolist() == ["a", "b", "d", "e"]
    assert some.ends.tolist() == [[0, 1], [1, 2]]  # ab, bd
    assert some.weights.tolist() == [0.9, 0.6]
    assert graph_statistics(some).within_class_chance == 2 / 6  # ab, de


def test_wrong_edges_of_five_clips(write_graph):
    nodes = FIVE.assign(path=[f"{name}.wav" for name in FIVE["utterance_id"]])
    graph = read_clip_graph(write_graph(*FIVE_EDGES), nodes)

    wrong = wrong_edges(graph, max_neighbors=1)

    assert wrong["weight"].tolist() == [0.7, 0.6]  # cd, bd
    assert wrong["same_speaker"].tolist() == ["yes", "no"]
    assert wrong["used_in_training"].tolist() == ["yes", "no"]  # d's nearest is c
    assert (wrong["path_a"].tolist(), wrong["path_b"].tolist()) == (
        ["c.wav", "b.wav"],
        ["d.wav", "d.wav"],
    )
