import json
from collections import Counter
from pathlib import Path, PurePath

import pandas as pd
import pytest

from ser_nsl.corpora import SplitConfig, load_corpus
from ser_nsl.corpora.settings import SPLITS
from ser_nsl.corpora.splits import assign_splits, describe_splits, doubts_of_lists, speaker_lists
from ser_nsl.errors import InputError

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


def split_of(genders: dict[str, str], corpus: str = "", **settings) -> dict[str, list[str]]:
    described = load_corpus(corpus) if corpus else None
    config = SplitConfig(**{"method": "speaker-independent"} | settings)
    lists = speaker_lists(genders, described, config)
    return {split: sorted(speakers) for split, speakers in lists.items()}


def clips(genders: dict[str, str]) -> pd.DataFrame:
    """Two clips of each speaker, in any order."""
    rows = [(speaker, gender) for speaker, gender in genders.items() for _ in range(2)]
    table = pd.DataFrame(rows, columns=["speaker", "gender"])
    return table.assign(path="a.wav", emotion="fear").sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def demos(shared_reference) -> pd.DataFrame:
    """The paper's 9,365 clips, without the neutral ones."""
    names = (shared_reference / "demos_filenames.txt").read_text().split()
    corpus = load_corpus("demos")
    table = pd.DataFrame([vars(corpus.read(PurePath(name))) for name in names])
    return table[table["emotion"] != "neutral"]


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_demos_lists_give_every_count_of_the_paper(alternative, demos):
    config = SplitConfig(method="count-equivalent", alternative=alternative)
    split = assign_splits(demos, load_corpus("demos"), config)

    counts = pd.crosstab(demos["emotion"], split)
    assert {
        emotion: tuple(counts.loc[emotion, list(SPLITS)]) for emotion in counts.index
    } == DEMOS_COUNTS
    people = demos.assign(split=split).drop_duplicates("speaker")
    assert Counter(zip(people["split"], people["gender"], strict=True)) == DEMOS_SPEAKERS


def test_demos_lists_are_those_of_the_reference(shared_reference):
    lists = [split_of({}, "demos", method="count-equivalent", alternative=i) for i in ALTERNATIVES]

    reference = json.loads((shared_reference / "demos_split.json").read_text())
    stated = [reference["default"], *reference["alternatives"]]
    assert lists == [{split: sorted(item[split]) for split in SPLITS} for item in stated]


def test_ravdess_paper_split():
    assert split_of({}, "ravdess", method="paper") == {
        "train": ["09", "10", "11", "12", "19", "20", "21", "22", "23", "24"],
        "val": ["03", "04", "05", "06", "13", "14", "15", "16"],
        "test": ["01", "02", "07", "08", "17", "18"],
    }


def test_each_speaker_of_ravdess_tests_in_one_fold_of_emobox_and_validates_in_another():
    folds = [split_of({}, "ravdess", method="emobox", alternative=i) for i in range(6)]

    assert folds[0]["test"] == ["01", "11", "20", "21"]
    assert folds[5]["test"] == ["06", "13", "17", "22"]
    everybody = [f"{i:02d}" for i in range(1, 25)]
    for split in ("val", "test"):
        assert sorted(name for fold in folds for name in fold[split]) == everybody
    for fold in folds:
        assert sorted(name for names in fold.values() for name in names) == everybody


@pytest.mark.parametrize(
    ("corpus", "method", "alternative", "rule"),
    [
        ("ravdess", "emobox", 6, "alternative: RAVDESS has 6 .*received 6"),
        ("demos", "count-equivalent", 11, "alternative: DEMoS has 11 .*received 11"),
        ("emovo", "paper", 0, "method: EMOVO has 0 .*'paper'"),
        ("ravdess", "count-equivalent", 0, "method: RAVDESS has 0 .*'count-equivalent'"),
        ("", "paper", 0, "method: .* 0 .*'paper'"),
    ],
)
def test_published_splits_that_are_not_there(corpus, method, alternative, rule):
    with pytest.raises(InputError, match=rf"split\.{rule}"):
        split_of(EMOVO, corpus, method=method, alternative=alternative)


def test_fold_5_of_emovo_tests_m3_and_validates_f3():
    assert split_of(EMOVO, method="leave-one-speaker-out", fold=5) == {
        "train": ["f1", "f2", "m1", "m2"],
        "val": ["f3"],
        "test": ["m3"],
    }


@pytest.mark.parametrize("genders", [EMOVO, dict.fromkeys("abcde", "")])
def test_every_speaker_tests_and_validates_once(genders):
    folds = [
        split_of(genders, method="leave-one-speaker-out", fold=fold) for fold in range(len(genders))
    ]

    for split in ("test", "val"):
        assert sorted(speaker for fold in folds for speaker in fold[split]) == sorted(genders)
    for fold in folds:
        assert sorted(sum(fold.values(), [])) == sorted(genders)


def test_fold_that_is_not_there():
    with pytest.raises(InputError, match=r"split\.fold: .*; received 3"):
        split_of(dict.fromkeys("abc", ""), method="leave-one-speaker-out", fold=3)


def test_random_split_is_disjoint_balanced_and_decided_by_the_seed_alone():
    shares = {"test_share": 0.25, "val_share": 1 / 3}
    lists = split_of(RAVDESS, seed=1, **shares)

    assert sorted(sum(lists.values(), [])) == sorted(RAVDESS)
    genders = {split: Counter(RAVDESS[name] for name in lists[split]) for split in SPLITS}
    assert genders == {
        "train": {"female": 6, "male": 6},
        "val": {"female": 3, "male": 3},
        "test": {"female": 3, "male": 3},
    }
    assert lists == split_of(dict(reversed(RAVDESS.items())), seed=1, **shares)
    assert lists != split_of(RAVDESS, seed=2, **shares)


def test_clips_follow_their_speakers():
    table = clips(RAVDESS)
    split = assign_splits(table, None, SplitConfig("speaker-independent", seed=4))

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


@pytest.mark.parametrize(
    ("genders", "shares", "rule"),
    [
        (EMOVO | {"f3": "male"}, {}, r"split\.method: .*female has f1, f2\."),
        (EMOVO, {"test_share": 0.9}, r"split\.test_share, split\.val_share: .*0\.9 "),
        (EMOVO, {"val_share": 0.9}, r"split\.test_share, split\.val_share: .*0\.9 "),
    ],
)
def test_too_few_speakers(genders, shares, rule):
    with pytest.raises(InputError, match=rule):
        split_of(genders, **shares)


@pytest.mark.parametrize(
    ("option", "value"), [("fold", 2), ("alternative", 1), ("lists", Path("speakers.json"))]
)
def test_option_that_the_method_would_ignore_is_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option} must be left out with .*balanced.*{value}"):
        SplitConfig(**{option: value})


def test_misspelt_speaker_of_a_list_is_told(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"val": ["f1"], "test": ["f2", "M1"]}')
    config = SplitConfig(method="lists", lists=path)

    (doubt,) = doubts_of_lists(clips(EMOVO), config)
    assert doubt == f"{path}: not in the corpus: M1; who is in no list trains"
    path.write_text('{"val": ["f1"], "test": ["f2", "m1"]}')
    assert doubts_of_lists(clips(EMOVO), config) == []


def test_lists_of_a_file(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"train": ["f1", "m1", 7], "val": ["f2", "m2"], "test": ["f3"]}')
    config = SplitConfig(method="lists", lists=path)
    table = clips(EMOVO | {"7": ""})

    with pytest.raises(InputError, match=r"speakers .*\(1; first: m3\)"):
        assign_splits(table, None, config)
    table = table[table["speaker"] != "m3"]
    split = assign_splits(table, None, config)

    assert dict(zip(table["speaker"], split, strict=True)) == {
        **dict.fromkeys(("f1", "m1", "7"), "train"),
        **dict.fromkeys(("f2", "m2"), "val"),
        "f3": "test",
    }


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"train": ["a", "b"], "val": ["c"], "test": ["a"]}', ": a"),
        ('{"train": ["a"], "val": ["c"]}', "'test'"),
        ('{"train": ["a"], "test": ["c"]}', "'val'"),
        ('{"train": 3, "val": ["c"], "test": []}', "JSON"),
        ('{"val": "anna", "test": ["c"]}', "val must be a list; received 'anna'"),
        ('{"val": ["a"], "test": ["c"], "dev": ["b"]}', "lists must be among .*'dev'"),
        ('["a"]', "JSON"),
        ("[" * 5000, "JSON"),
        ("train: a", "JSON"),
        (None, "JSON"),
    ],
)
def test_bad_lists_are_an_error_that_names_the_file(text, rule, tmp_path):
    path = tmp_path / "lists.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(InputError, match=rf"lists\.json: .*{rule}"):
        split_of(EMOVO, method="lists", lists=path)


def test_methods_that_need_a_file_or_a_column():
    with pytest.raises(InputError, match="split.lists: "):
        split_of(EMOVO, method="lists")
    with pytest.raises(InputError, match="'given' .*'split'"):
        assign_splits(clips(EMOVO), None, SplitConfig(method="given"))

    table = clips(EMOVO).assign(split="val")
    assert set(assign_splits(table, None, SplitConfig(method="given"))) == {"val"}


@pytest.fixture
def unknown_speakers() -> pd.DataFrame:
    emotions = ["anger"] * 40 + ["fear"] * 20
    table = pd.DataFrame({"path": "a.wav", "speaker": "", "gender": "", "emotion": emotions})
    return table.sample(frac=1, random_state=0)


def test_clips_divide_each_emotion_in_the_same_shares(unknown_speakers):
    config = SplitConfig(method="clips", test_share=0.25, val_share=1 / 3)
    split = assign_splits(unknown_speakers, None, config)

    counts = pd.crosstab(unknown_speakers["emotion"], split)
    assert {emotion: tuple(counts.loc[emotion, list(SPLITS)]) for emotion in counts.index} == {
        "anger": (20, 10, 10),
        "fear": (10, 5, 5),
    }
    assert split.sort_index().equals(assign_splits(unknown_speakers, None, config).sort_index())


def test_methods_refuse_what_they_would_mix(unknown_speakers):
    config = SplitConfig(method="clips")
    with pytest.raises(InputError, match="'clips' .* 6 speakers.*'balanced'"):
        assign_splits(clips(EMOVO), None, config)
    rare = unknown_speakers.query("emotion == 'fear'").index[1:]
    few = unknown_speakers.drop(rare)
    with pytest.raises(InputError, match=r"'clips' needs more clips.*; 'fear' has 1 of 41\. Add"):
        assign_splits(few, None, config)
    with pytest.raises(InputError, match=r"'balanced' .*\(60; first: a\.wav.*'clips'"):
        assign_splits(unknown_speakers, None, SplitConfig())


@pytest.mark.parametrize("method", ["balanced", "speaker-independent", "leave-one-speaker-out"])
@pytest.mark.parametrize("count", [1, 2])
def test_too_few_speakers_are_sent_to_a_method_that_takes_them(method, count):
    table = pd.concat([clips(dict(list(EMOVO.items())[:count]))] * 8, ignore_index=True)

    with pytest.raises(InputError, match=r"split\.method: .*f1.* only.*'clips'"):
        assign_splits(table, None, SplitConfig(method=method))
    assert set(assign_splits(table, None, SplitConfig(method="clips"))) == set(SPLITS)


def test_speakers_outside_of_lists_train_where_no_list_says_who(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"val": ["f2"], "test": ["f3"]}')
    split = assign_splits(clips(EMOVO), None, SplitConfig(method="lists", lists=path))

    assert Counter(split) == {"train": 8, "val": 2, "test": 2}
    path.write_text('{"val": ["f2"], "test": ["f03"]}')
    with pytest.raises(InputError, match=r"none of the speakers of test .*\(f03\).* f1, f2"):
        assign_splits(clips(EMOVO), None, SplitConfig(method="lists", lists=path))


def test_each_split_is_said():
    table = clips(EMOVO).assign(split="train")
    table.loc[table["speaker"] == "m1", ["split", "emotion"]] = "test", "joy"

    assert describe_splits(table) == [
        "train: 10 clips (83%); speakers: f1, f2, f3, m2, m3; without joy",
        "val: 0 clips (0%); without fear, joy",
        "test: 2 clips (17%); speakers: m1; without fear",
    ]
