import itertools
import random
from math import isnan

import pandas as pd
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import graph_statistics


def clips(**facts: str) -> pd.DataFrame:
    """Rows of a manifest from `id="emotion speaker"`."""
    rows = [(utterance_id, *words.split()) for utterance_id, words in facts.items()]
    return pd.DataFrame(rows, columns=["utterance_id", "emotion", "speaker"])


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
    statistics = graph_statistics(write_graph(*FIVE_EDGES), FIVE)

    assert (statistics.clips, statistics.edges, statistics.isolated) == (5, 4, 1)
    assert statistics.degrees == (2, 2, 2, 2, 0)
    assert statistics.within_class == 2 / 4  # ab, ac
    assert statistics.within_speaker == 2 / 4  # ab, cd
    assert statistics.within_class_across_speakers == 1 / 2  # ac, but not bd
    # Of ten pairs: ab, ac, bc, de share the emotion; ab, ae, be, cd the speaker.
    assert statistics.within_class_chance == 4 / 10
    assert statistics.within_speaker_chance == 4 / 10
    assert statistics.within_class_across_speakers_chance == 3 / 6  # ac, bc, de


def test_edges_that_training_uses(write_graph):
    # Each clip's nearest: a-b both ways, c-a, and d's tie between a and b goes to b.
    graph = write_graph(
        *("a b 0.9", "b a 0.9", "a c 0.8", "c a 0.8", "c d 0.6"),
        *("d c 0.6", "d b 0.7", "b d 0.7", "d a 0.7", "a d 0.7"),
    )

    statistics = graph_statistics(graph, FIVE, max_neighbors=1)

    assert statistics.edges == 3
    assert statistics.degrees == (2, 2, 1, 1, 0)
    assert statistics.within_speaker == 1 / 3  # ab, not ac and bd


def test_shares_of_nothing_are_nan(write_graph):
    nothing = graph_statistics(write_graph(), FIVE)
    one_speaker = graph_statistics(write_graph("a b 1", "b a 1"), clips(a="joy s", b="joy s"))

    assert (nothing.edges, nothing.isolated, nothing.degrees) == (0, 5, (0,) * 5)
    assert isnan(nothing.within_class)
    assert one_speaker.within_speaker == one_speaker.within_speaker_chance == 1
    assert isnan(one_speaker.within_class_across_speakers)
    assert isnan(one_speaker.within_class_across_speakers_chance)


def test_unknown_clips_are_named(write_graph):
    with pytest.raises(InputError, match=r"1 of its 2 clips .* \(first: z\)"):
        graph_statistics(write_graph("a z 1", "z a 1"), FIVE)


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
        return (
            sum(a[0] == b[0] for a, b in pairs) / len(pairs),
            sum(a[1] == b[1] for a, b in pairs) / len(pairs),
            sum(across) / len(across),
        )

    lines = [f"{a} {b} {w}" for (a, b), w in weights.items()]
    lines += [f"{b} {a} {w}" for (a, b), w in weights.items()]
    manifest = clips(**{clip: " ".join(words) for clip, words in facts.items()})
    found = graph_statistics(write_graph(*lines), manifest, max_neighbors)

    assert found.edges == len(chosen)
    degrees = [sum(clip in pair for pair in chosen) for clip in facts]
    assert found.degrees == tuple(sorted(degrees, reverse=True))
    assert found.isolated == degrees.count(0)
    assert (
        found.within_class,
        found.within_speaker,
        found.within_class_across_speakers,
    ) == pytest.approx(shares(chosen))
    assert (
        found.within_class_chance,
        found.within_speaker_chance,
        found.within_class_across_speakers_chance,
    ) == pytest.approx(shares(itertools.combinations(facts, 2)))
