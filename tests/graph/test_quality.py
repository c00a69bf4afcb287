import itertools
import random

import numpy as np
import pytest

from ser_nsl.errors import InputError
from ser_nsl.graph import quality
from ser_nsl.graph.quality import chance_agreement, neighbor_agreement

# Five clips on a half circle; neighbours are those at the nearest angles.
ANGLES = np.radians([0, 10, 25, 60, 100])
FIVE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
EMOTIONS = ["joy", "joy", "sorrow", "joy", "sorrow"]
SPEAKERS = ["s1", "s2", "s1", "s2", "s2"]


def test_five_clips_by_hand():
    everyone = neighbor_agreement(FIVE, EMOTIONS, SPEAKERS, neighbors=(1, 2), across_speakers=False)
    others = neighbor_agreement(FIVE, EMOTIONS, SPEAKERS, neighbors=(1, 2), across_speakers=True)

    # Nearest two: 0: 1 2; 1: 0 2; 2: 1 0; 3: 2 4; 4: 3 2.
    assert everyone == {1: 2 / 5, 2: 3 / 10}
    # Of others: 0: 1 3; 1: 0 2; 2: 1 3; 3: 2 0; 4: 2 0.
    assert others == {1: 3 / 5, 2: 5 / 10}


def test_length_does_not_count():
    lengths = np.array([1e-3, 1, 50, 0.2, 7])[:, np.newaxis]
    settings = {"neighbors": (1, 2), "across_speakers": True}

    scaled = neighbor_agreement(FIVE * lengths, EMOTIONS, SPEAKERS, **settings)

    assert scaled == neighbor_agreement(FIVE, EMOTIONS, SPEAKERS, **settings)


def test_chance_by_hand():
    # Of four others: 0, 1, 3 share joy with two, 2 and 4 sorrow with one.
    assert chance_agreement(EMOTIONS, SPEAKERS, across_speakers=False) == pytest.approx(
        (3 * 2 / 4 + 2 * 1 / 4) / 5
    )
    # Of other speakers: 0: 2 of 3; 1: 1 of 2; 2: 1 of 3; 3: 1 of 2; 4: 1 of 2.
    assert chance_agreement(EMOTIONS, SPEAKERS, across_speakers=True) == pytest.approx(
        (2 / 3 + 1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 5
    )


@pytest.mark.parametrize("across_speakers", [True, False])
def test_chance_is_the_mean_over_all_draws(across_speakers):
    choose = random.Random(0)
    emotions = [choose.choice("xxyz") for _ in range(20)]
    speakers = [choose.choice("abc") for _ in range(20)]
    pairs = [
        (i, j)
        for i, j in itertools.permutations(range(20), 2)
        if not (across_speakers and speakers[i] == speakers[j])
    ]
    shares = [
        np.mean([emotions[i] == emotions[j] for i, j in pairs if i == clip]) for clip in range(20)
    ]

    found = chance_agreement(emotions, speakers, across_speakers=across_speakers)

    assert found == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("across_speakers", [True, False])
def test_agrees_with_a_search_clip_by_clip(across_speakers, monkeypatch):
    monkeypatch.setattr(quality, "_BLOCK", 7)
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(40, 5)).astype(np.float32)
    emotions, speakers = chance.choice(list("xyz"), 40), chance.choice(list("abcd"), 40)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares: dict[int, list[float]] = {2: [], 5: []}
    for i in range(40):
        allowed = [
            j for j in range(40) if j != i and not (across_speakers and speakers[i] == speakers[j])
        ]
        allowed.sort(key=lambda j: -float(unit[i] @ unit[j]))
        for count, found in shares.items():
            found.append(np.mean([emotions[j] == emotions[i] for j in allowed[:count]]))

    found = neighbor_agreement(
        vectors, emotions, speakers, neighbors=(2, 5), across_speakers=across_speakers
    )

    assert found == pytest.approx({count: np.mean(share) for count, share in shares.items()})


def test_of_equals_the_earlier_is_nearer():
    # Two directions, each many times over, so that all similarities but two are ties.
    vectors = np.tile(np.random.default_rng(0).normal(size=(2, 33)), (51, 1))
    emotions = ["first"] * 6 + ["later"] * 96
    speakers = [str(i) for i in range(102)]

    found = neighbor_agreement(vectors, emotions, speakers, neighbors=(2,), across_speakers=True)

    # The first three of either direction are "first": all six find two of their own, no other.
    assert found == {2: 6 / 102}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neighbors": (1, 5), "across_speakers": False}, "neighbors: .* 4 .* 5 "),
        ({"neighbors": (3,), "across_speakers": True}, "neighbors: .* 2 .* 3 "),
        ({"embeddings": FIVE * [[1], [0], [1], [1], [0]]}, "embeddings: 2 of 5 are all zero"),
        ({"embeddings": FIVE * [[1], [np.nan], [1], [1], [1]]}, "embeddings: 1 of 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message):
    arguments = {
        "embeddings": FIVE,
        "emotions": EMOTIONS,
        "speakers": SPEAKERS,
        "neighbors": (1,),
        "across_speakers": True,
    } | arguments

    with pytest.raises(InputError, match=message):
        neighbor_agreement(**arguments)


def test_chance_needs_other_speakers():
    with pytest.raises(InputError, match="speakers: 2 of 2"):
        chance_agreement(["joy", "joy"], ["s1", "s1"], across_speakers=True)
