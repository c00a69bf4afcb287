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
ALONE = [*"12345"]  # speakers of one clip each, so that a clip is compared with all others


def test_five_clips_by_hand():
    # Nearest two: 0: 1 2; 1: 0 2; 2: 1 0; 3: 2 4; 4: 3 2.
    # Of other speakers: 0: 1 3; 1: 0 2; 2: 1 3; 3: 2 0; 4: 2 0.
    for count, speakers, share in (
        (1, ALONE, 2 / 5),
        (2, ALONE, 3 / 10),
        (1, SPEAKERS, 3 / 5),
        (2, SPEAKERS, 5 / 10),
    ):
        assert neighbor_agreement(FIVE, EMOTIONS, speakers, neighbors=count) == share


def test_length_does_not_count():
    lengths = np.array([1e-3, 1, 50, 0.2, 7])[:, np.newaxis]

    scaled = neighbor_agreement(FIVE * lengths, EMOTIONS, SPEAKERS, neighbors=2)

    assert scaled == neighbor_agreement(FIVE, EMOTIONS, SPEAKERS, neighbors=2)


def test_chance_by_hand():
    # Of four others: 0, 1, 3 share joy with two, 2 and 4 sorrow with one.
    assert chance_agreement(EMOTIONS, ALONE) == pytest.approx((3 * 2 / 4 + 2 * 1 / 4) / 5)
    # Of other speakers: 0: 2 of 3; 1: 1 of 2; 2: 1 of 3; 3: 1 of 2; 4: 1 of 2.
    assert chance_agreement(EMOTIONS, SPEAKERS) == pytest.approx(
        (2 / 3 + 1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 5
    )


def test_chance_is_the_mean_over_all_draws():
    choose = random.Random(0)
    emotions = [choose.choice("xxyz") for _ in range(20)]
    speakers = [choose.choice("abc") for _ in range(20)]
    pairs = [(i, j) for i, j in itertools.permutations(range(20), 2) if speakers[i] != speakers[j]]
    shares = [
        np.mean([emotions[i] == emotions[j] for i, j in pairs if i == clip]) for clip in range(20)
    ]

    assert chance_agreement(emotions, speakers) == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("count", [2, 5])
def test_agrees_with_a_search_clip_by_clip(count, monkeypatch):
    monkeypatch.setattr(quality, "_BLOCK", 7)
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(40, 5)).astype(np.float32)
    emotions, speakers = chance.choice(list("xyz"), 40), chance.choice(list("abcd"), 40)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = []
    for i in range(40):
        allowed = [j for j in range(40) if speakers[i] != speakers[j]]
        allowed.sort(key=lambda j: -float(unit[i] @ unit[j]))
        shares.append(np.mean([emotions[j] == emotions[i] for j in allowed[:count]]))

    found = neighbor_agreement(vectors, emotions, speakers, neighbors=count)

    assert found == pytest.approx(np.mean(shares))


def test_of_equals_the_earlier_is_nearer():
    # Two directions, each many times over, so that all similarities but two are ties.
    vectors = np.tile(np.random.default_rng(0).normal(size=(2, 33)), (51, 1))
    emotions = ["first"] * 6 + ["later"] * 96
    speakers = [str(i) for i in range(102)]

    found = neighbor_agreement(vectors, emotions, speakers, neighbors=2)

    # The first three of either direction are "first": all six find two of their own, no other.
    assert found == 6 / 102


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neighbors": 5, "speakers": ALONE}, "neighbors: .* 4 .* 5 "),
        ({"neighbors": 3}, "neighbors: .* 2 .* 3 "),
        ({"embeddings": FIVE * [[1], [0], [1], [1], [0]]}, "embeddings: 2 of 5 are all zero"),
        ({"embeddings": FIVE * [[1], [np.nan], [1], [1], [1]]}, "embeddings: 1 of 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message):
    given = {"embeddings": FIVE, "emotions": EMOTIONS, "speakers": SPEAKERS, "neighbors": 1}

    with pytest.raises(InputError, match=message):
        neighbor_agreement(**given | arguments)


def test_chance_needs_other_speakers():
    with pytest.raises(InputError, match="speakers: 2 of 2"):
        chance_agreement(["joy", "joy"], ["s1", "s1"])
