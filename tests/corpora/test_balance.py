import numpy as np
import pandas as pd
import pytest

from ser_nsl.corpora.balance import balanced_splits
from ser_nsl.corpora.settings import SPLITS

SHARES = {"train": 0.5625, "val": 0.1875, "test": 0.25}


def speakers_of(sizes, *, genders: bool = True, seed: int = 0) -> pd.DataFrame:
    """Speakers with so many clips, each with a mix of six emotions of their own."""
    random = np.random.default_rng(seed)
    rows = [
        (f"s{i:03}", "fm"[i % 2] if genders else "", emotion)
        for i, size in enumerate(sizes)
        for emotion in random.choice([*"abcdef"], size, p=random.dirichlet([2.0] * 6))
    ]
    return pd.DataFrame(rows, columns=["speaker", "gender", "emotion"])


def split(table: pd.DataFrame, seed: int = 0) -> pd.Series:
    return table["speaker"].map(balanced_splits(table, test_share=0.25, val_share=0.25, seed=seed))


@pytest.mark.parametrize("genders", [True, False])
def test_every_split_has_its_share_of_clips_emotions_and_genders(genders):
    table = speakers_of(np.random.default_rng(1).integers(5, 60, 60), genders=genders)
    splits = split(table)

    for column in ("emotion", "gender"):
        shares = pd.crosstab(table[column], splits, normalize="index")[[*SPLITS]]
        assert (shares - [*SHARES.values()]).abs().to_numpy().max() < 0.06


def test_rounding_does_not_choose_among_equal_divisions():
    """Where speakers are alike, many are equal; processors round in different ways."""
    found = []
    for emotions in range(1, 10):
        rows = [
            (f"s{i}", "fm"[i % 2], f"{emotion}") for i in range(6) for emotion in range(emotions)
        ]
        table = pd.DataFrame(rows, columns=["speaker", "gender", "emotion"])
        found.append(balanced_splits(table, test_share=0.25, val_share=0.25, seed=0))

    assert all(each == found[0] for each in found)


def test_seed_decides_and_the_order_of_clips_does_not():
    table = speakers_of([20] * 12)
    splits = split(table)

    shuffled = table.sample(frac=1, random_state=0)
    assert split(shuffled).sort_index().equals(splits)
    assert not split(table, seed=1).equals(splits)


@pytest.mark.parametrize(
    "sizes",
    [
        [3000, 2000, *[10] * 6],
        [1000, 50, 40, 30],
        [400, 300, 200, 60, 40],
        [900, 30, 30],
        [100] * 4,
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_training_keeps_half_of_the_clips_however_large_a_few_speakers_are(sizes, seed):
    splits = split(speakers_of(sizes), seed)

    assert (splits == "train").mean() >= 0.5
    assert set(splits) == set(SPLITS)


def test_emotion_of_one_speaker_is_trained():
    table = speakers_of([50] * 8)
    table.loc[table["speaker"] == "s003", "emotion"] = "only here"

    for seed in range(5):
        assert set(split(table, seed)[table["emotion"] == "only here"]) == {"train"}


def test_many_speakers_are_divided_in_seconds():
    splits = split(speakers_of([3] * 1_000))

    assert splits.value_counts(normalize=True).to_dict() == pytest.approx(SHARES, abs=0.01)
