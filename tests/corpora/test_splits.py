import json
from collections import Counter
from pathlib import PurePath

import pandas as pd
import pytest

from ser_nsl.corpora import load_corpus
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.corpora.splits import assign_splits, speaker_lists
from ser_nsl.errors import InputError

SPLITS = ("train", "val", "test")
RAVDESS = {f"{i:02d}": "male" if i % 2 else "female" for i in range(1, 25)}
EMOVO = dict.fromkeys(("f1", "f2", "f3"), "female") | dict.fromkeys(("m1", "m2", "m3"), "male")
ALTERNATIVES = range(11)

# Table 2 of arXiv 2210.14977: clips of train, val and test.
DEMOS_COUNTS = {
    "anger": (586, 531, 360),
    "disgust": (666, 608, 404),
    "fear": (461, 404, 291),
    "guilt": (453, 395, 281),
    "happiness": (561, 471, 363),
    "sadness": (606, 543, 381),
    "surprise": (396, 358, 246),
}
DEMOS_SPEAKERS = {
    ("train", "female"): 9,
    ("train", "male"): 18,
    ("val", "female"): 7,
    ("val", "male"): 18,
    ("test", "female"): 7,
    ("test", "male"): 9,
}


def split_of(genders: dict[str, str], corpus: str = "any", **settings) -> dict[str, list[str]]:
    return {
        split: sorted(speakers)
        for split, speakers in speaker_lists(genders, corpus, SplitConfig(**settings)).items()
    }


def clips(genders: dict[str, str], each: int = 2) -> pd.DataFrame:
    rows = [(speaker, gender) for speaker, gender in genders.items() for _ in range(each)]
    return pd.DataFrame(rows, columns=["speaker", "gender"]).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def demos(shared_reference) -> pd.DataFrame:
    """The paper's 9,365 clips, without the neutral ones."""
    names = (shared_reference / "demos_filenames.txt").read_text().split()
    table = pd.DataFrame([vars(load_corpus("demos").read(PurePath(name))) for name in names])
    return table[table["emotion"] != "neutral"]


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_demos_lists_give_every_count_of_the_paper(alternative, demos):
    config = SplitConfig(method="count-equivalent", alternative=alternative)
    split = assign_splits(demos, "demos", config)

    counts = pd.crosstab(demos["emotion"], split)
    assert {
        emotion: tuple(counts.loc[emotion, list(SPLITS)]) for emotion in counts.index
    } == DEMOS_COUNTS
    people = demos.assign(split=split).drop_duplicates("speaker")
    assert Counter(zip(people["split"], people["gender"], strict=True)) == DEMOS_SPEAKERS
    assert not demos.assign(split=split).groupby("speaker")["split"].nunique().gt(1).any()


def test_demos_lists_all_differ_and_are_those_of_the_reference(shared_reference):
    lists = [split_of({}, "demos", method="count-equivalent", alternative=i) for i in ALTERNATIVES]

    assert len({json.dumps(item) for item in lists}) == len(ALTERNATIVES)
    reference = json.loads((shared_reference / "demos_split.json").read_text())
    stated = [reference["default"], *reference["alternatives"]]
    assert lists == [{split: sorted(item[split]) for split in SPLITS} for item in stated]


def test_demos_alternatives_end_at_ten():
    with pytest.raises(InputError, match=r"alternative: must be 0 .*to 10; received 11"):
        split_of({}, "demos", method="count-equivalent", alternative=11)


def test_ravdess_paper_split():
    assert split_of(RAVDESS, "ravdess", method="paper") == {
        "train": ["09", "10", "11", "12", "19", "20", "21", "22", "23", "24"],
        "val": ["03", "04", "05", "06", "13", "14", "15", "16"],
        "test": ["01", "02", "07", "08", "17", "18"],
    }


def test_ravdess_paper_split_gives_the_papers_clips():
    split = assign_splits(clips(RAVDESS, each=60), "ravdess", SplitConfig(method="paper"))

    assert Counter(split) == {"train": 600, "val": 480, "test": 360}


def test_part_of_ravdess_is_divided_as_the_whole():
    part = {actor: RAVDESS[actor] for actor in ("01", "03", "05", "09", "10", "12", "19", "02")}
    table = clips(part)
    split = assign_splits(table, "ravdess", SplitConfig(method="paper"))

    home = dict(zip(table["speaker"], split, strict=True))
    assert sorted(home, key=lambda actor: (SPLITS.index(home[actor]), actor)) == [
        *("09", "10", "12", "19"),
        *("03", "05"),
        *("01", "02"),
    ]


@pytest.mark.parametrize("method", ["paper", "count-equivalent"])
def test_methods_of_one_corpus_refuse_others(method):
    with pytest.raises(InputError, match=r"split\.method: .* emovo"):
        split_of(EMOVO, "emovo", method=method)


def test_fold_5_of_emovo_tests_m3_and_validates_f3():
    assert split_of(EMOVO, method="leave-one-speaker-out", fold=5) == {
        "train": ["f1", "f2", "m1", "m2"],
        "val": ["f3"],
        "test": ["m3"],
    }


@pytest.mark.parametrize("genders", [EMOVO, RAVDESS, dict.fromkeys("abcde", "")])
def test_every_speaker_tests_and_validates_once(genders):
    folds = [
        split_of(genders, method="leave-one-speaker-out", fold=fold) for fold in range(len(genders))
    ]

    for split in ("test", "val"):
        assert sorted(speaker for fold in folds for speaker in fold[split]) == sorted(genders)
    for fold in folds:
        assert sorted(sum(fold.values(), [])) == sorted(genders)


@pytest.mark.parametrize(("speakers", "fold"), [("abc", 3), ("ab", 0), ("", 0)])
def test_fold_that_is_not_there(speakers, fold):
    with pytest.raises(InputError, match=rf"split\.fold: must be 0 to .*; received {fold}"):
        split_of(dict.fromkeys(speakers, ""), method="leave-one-speaker-out", fold=fold)


@pytest.mark.parametrize("seed", range(5))
def test_speaker_independent_split_is_disjoint_and_balanced(seed):
    lists = split_of(RAVDESS, seed=seed, test_share=0.25, val_share=1 / 3)

    assert sorted(sum(lists.values(), [])) == sorted(RAVDESS)
    genders = {split: Counter(RAVDESS[name] for name in lists[split]) for split in SPLITS}
    assert genders == {
        "train": {"female": 6, "male": 6},
        "val": {"female": 3, "male": 3},
        "test": {"female": 3, "male": 3},
    }


def test_seed_decides_the_speakers_and_nothing_else_does():
    backwards = dict(reversed(RAVDESS.items()))

    assert split_of(RAVDESS, seed=1) == split_of(backwards, seed=1)
    assert split_of(RAVDESS, seed=1) != split_of(RAVDESS, seed=2)


def test_clips_follow_their_speakers():
    table = clips(RAVDESS, each=3)
    split = assign_splits(table, "ravdess", SplitConfig(seed=4))

    assert split.index.equals(table.index)
    home = {name: part for part, names in split_of(RAVDESS, seed=4).items() for name in names}
    assert split.tolist() == [home[speaker] for speaker in table["speaker"]]


def test_speakers_of_unknown_gender_are_divided_too():
    lists = split_of(dict.fromkeys("abcdefgh", ""))

    assert {split: len(names) for split, names in lists.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }


def test_too_few_speakers_of_a_gender():
    genders = {"a": "male", "b": "male", "c": "male", "d": "female", "e": "female"}

    with pytest.raises(
        InputError, match=r"three speakers of each gender; female has d, e\. Choose"
    ):
        split_of(genders)


@pytest.mark.parametrize("shares", [{"test_share": 0.9}, {"val_share": 0.9}])
def test_shares_that_leave_nobody_to_train(shares):
    with pytest.raises(InputError, match=r"split\.test_share, split\.val_share: must leave"):
        split_of(dict.fromkeys("abcd", "male"), **shares)


def test_lists_of_a_file(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"train": ["f1", "m1", 7], "val": ["f2", "m2"], "test": ["f3", "m3"]}')
    table = clips(EMOVO | {"7": ""})

    split = assign_splits(table, "emovo", SplitConfig(method="lists", lists=path))

    home = dict(zip(table["speaker"], split, strict=True))
    assert [home[speaker] for speaker in ("f1", "m1", "7", "f2", "m2", "f3", "m3")] == [
        *3 * ["train"],
        *2 * ["val"],
        *2 * ["test"],
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"train": ["a", "b"], "val": ["c"], "test": ["a"]}', "these stand in two: a"),
        ('{"train": ["a", "a"], "val": ["c"], "test": ["b"]}', "one split only"),
        ('{"train": ["a"], "val": ["c"]}', "must be JSON of the form"),
        ('{"train": 3, "val": ["c"], "test": []}', "must be JSON of the form"),
        ('["a"]', "must be JSON of the form"),
        ("train: a", "must be JSON of the form"),
        (None, "must be JSON of the form"),
    ],
)
def test_bad_lists_are_an_error_that_names_the_file(text, rule, tmp_path):
    path = tmp_path / "lists.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(InputError, match=r"lists\.json: ") as error:
        split_of(EMOVO, method="lists", lists=path)

    assert rule in str(error.value)


def test_lists_without_a_file():
    with pytest.raises(InputError, match="'lists' needs a JSON file"):
        split_of(EMOVO, method="lists")


def test_unlisted_speakers_are_named(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"train": ["f1"], "val": ["f2"], "test": ["f3"]}')

    with pytest.raises(InputError, match=r"3 speakers stand in no list \(first: m1, m2, m3\)"):
        assign_splits(clips(EMOVO), "emovo", SplitConfig(method="lists", lists=path))


def test_given_takes_the_tables_own():
    table = clips(EMOVO).assign(split="val")

    assert set(assign_splits(table, "csv", SplitConfig(method="given"))) == {"val"}
    with pytest.raises(InputError, match="'given' needs a table with a column 'split'"):
        assign_splits(clips(EMOVO), "csv", SplitConfig(method="given"))


@pytest.fixture
def unknown_speakers() -> pd.DataFrame:
    emotions = ["anger"] * 40 + ["fear"] * 20
    return pd.DataFrame({"speaker": "", "gender": "", "emotion": emotions}).sample(
        frac=1, random_state=0
    )


def test_clips_divide_each_emotion_alike(unknown_speakers):
    config = SplitConfig(method="clips", test_share=0.25, val_share=1 / 3)
    split = assign_splits(unknown_speakers, "folder", config)

    counts = pd.crosstab(unknown_speakers["emotion"], split)
    assert {emotion: tuple(counts.loc[emotion, list(SPLITS)]) for emotion in counts.index} == {
        "anger": (20, 10, 10),
        "fear": (10, 5, 5),
    }
    assert split.sort_index().equals(assign_splits(unknown_speakers, "folder", config).sort_index())


def test_clips_refuse_known_speakers_and_few_clips(unknown_speakers):
    config = SplitConfig(method="clips")
    with pytest.raises(InputError, match="puts a speaker into two splits"):
        assign_splits(clips(EMOVO).assign(emotion="fear"), "csv", config)
    with pytest.raises(InputError, match="'clips' needs more clips of each emotion"):
        assign_splits(unknown_speakers.head(2), "folder", config)


def test_other_methods_refuse_unknown_speakers(unknown_speakers):
    with pytest.raises(InputError, match="needs to know who speaks"):
        assign_splits(unknown_speakers, "folder", SplitConfig())
