import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.corpora.found import describe, doubts, doubts_of_sounds, tidy
from ser_nsl.corpora.splits import describe_splits

MIXED = [("joy", "anna"), ("fear", "anna"), ("joy", "ben"), ("fear", "ben")] * 3


def table(rows: list[tuple[str, str]], gender: str = "") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["emotion", "speaker"]).assign(gender=gender)


def doubts_of(rows: list[tuple[str, str]], *, is_table: bool = False) -> str:
    return "\n".join(doubts(table(rows), Path("my"), is_table=is_table))


def test_usual_corpus_is_not_doubted():
    assert doubts_of(MIXED) == ""
    assert doubts_of([*MIXED, *[("", "cleo")] * 3]) == ""
    assert doubts_of([*MIXED, ("fear", "Joy"), ("joy", "Joy")]) == ""  # her name
    assert doubts_of([*MIXED, ("fear", "Dev"), ("joy", "Dev")]) == ""
    assert doubts_of([*MIXED, *[("joy 2", "anna"), ("joy 2", "ben")] * 3]).count("\n") == 0
    assert doubts_of([*MIXED, ("fear", "Donna"), ("joy", "Donna")]) == ""  # hers too
    assert doubts_of([(emotion, name) for emotion, _ in MIXED for name in "flmn"]) == ""
    assert doubts_of([(emotion, name) for emotion, _ in MIXED for name in ("A1_2", "A12")]) == ""


@pytest.mark.parametrize(
    ("rows", "doubt", "line"),
    [
        (
            [("joy", "anna")] * 4,
            "joy is the only emotion",
            "add clips of another, or give the folder",
        ),
        ([("AudioWAV", "anna")] * 4, "AudioWAV: by their names no emotions", "my/AudioWAV"),
        ([("raw_wav 16", s) for _, s in MIXED], "raw_wav 16: by their names no emotions", ""),
        ([(e, "female") for e, _ in MIXED], "female: by their names genders", "--speaker-pattern"),
        (
            [(g, e) for e, _ in MIXED for g in ("female", "male")],
            "female, male: by their names no emotions",
            "(?P<gender>[^/]+)/(?P<emotion>",
        ),
        (
            [(f"{s}_{e}", "") for e, s in MIXED],
            "share a word with others",
            "ben_fear fear anna_fear fear ben_joy joy anna_joy joy",
        ),
        ([*MIXED, *[("very joy", "ben")] * 3], "emotions very joy share", "'very joy' joy"),
        ([(s, "грусть") for _, s in MIXED], "грусть: by their names emotions, not speakers", ""),
        (
            [("mine", speaker) for speaker in ("anger", "fear", "sad") * 3],
            "anger, fear, sad: by their names emotions",
            "--audio-dir my/mine",
        ),
        (
            [(split, speaker) for split in ("train", "test") for speaker in ("joy", "fear") * 3],
            "train, test: by their names no emotions",
            "--audio-dir my/train",
        ),
        (
            [(speaker, emotion) for emotion, speaker in MIXED],
            "joy, fear: by their names emotions, not speakers",
            "(?P<speaker>[^/]+)/(?P<emotion>[^/]+)/",
        ),
        (
            [(f"{split}_splits", "") for split in ("train", "dev") for _ in range(3)],
            "train_splits, dev_splits: by their names no emotions",
            "list the clips in a table",
        ),
        (
            [(code, "") for code in ("p225", "M01-b") for _ in range(3)],
            "p225, M01-b: by their names no emotions",
            "describe the names of the files",
        ),
        (
            [("Actor_01", emotion) for emotion, _ in MIXED] + [("Actor_02", "fear")] * 3,
            "Actor_01, Actor_02: by their names no emotions",
            "(?P<speaker>[^/]+)/(?P<emotion>[^/]+)/",
        ),
        (
            [(e, split) for e, _ in MIXED for split in ("Train", "Validation", "Test 1")],
            "speakers Train, Validation, Test 1: by their names folders",
            "--corpus csv --table FILE",
        ),
        (
            [*MIXED, *[("joy;fear", "ben")] * 3],
            "joy;fear: several emotions in one label",
            "--label-map 'joy;fear' joy) or leave out (--leave-out 'joy;fear')",
        ),
        (
            [(f"['{e}']", s) for e, s in MIXED],
            "have brackets or quotes around",
            """--label-map '['"'"'joy'"'"']' joy""",
        ),
        ([*MIXED, *[("Joy", "ben")] * 3], "joy, Joy differ", "--label-map Joy joy"),
        ([*MIXED, *[("j-oy", "ben")] * 3], "joy, j-oy differ", "--label-map j-oy joy"),
        ([*MIXED, *[("NaN", "ben")] * 3], "NaN: an emotion that means unknown", "--leave-out NaN"),
        ([*MIXED, *[("Unknown", "ben")] * 3], "Unknown", "--label-map Unknown ''"),
        ([*MIXED, *[("3", "ben")] * 3], "3: emotions that are numbers", "--label-map 3 NAME"),
        ([*MIXED, *[("-1.0", "ben")] * 3], "-1.0: emotions that are numbers", "-1.0 NAME"),
        ([*MIXED, ("pride", "ben")], "pride: fewer than 3 clips", "--leave-out pride"),
        ([*MIXED, ("joy", "Ben"), ("fear", "Ben")], "ben, Ben may be one", "--speaker-pattern"),
        ([*MIXED, *((e, s) for e, _ in MIXED for s in ("1", "01"))], "1, 01 may be one", ""),
        (
            [(e, s) for e, _ in MIXED for s in ("S2", "S02", "s_2", "S 2", "T1_2", "T12")],
            "speakers S2, S02, s_2 and 1 more may be one",
            "",
        ),
        ([*MIXED, *[("joy", "cleo")] * 3], "speakers cleo have one emotion", "center=null"),
    ],
)
def test_what_looks_wrong_is_doubted_with_the_line_that_settles_it(rows, doubt, line):
    said = doubts_of(rows)

    assert doubt in said and line in said


@pytest.mark.parametrize("name", ["{}.5", "joy {}", "[{}]", "joy{}", "joy fear {}"])
def test_lines_can_be_read_however_many_emotions_there_are(name):
    """A column of valence, or of sentences, given as that of the emotion."""
    rows = table([(name.format(i), f"s{i % 5}") for i in range(1000)]).assign(split="train")
    rows.loc[::2, "split"] = "test"

    lines = [*describe(rows), *doubts(rows, Path("my"), is_table=True), *describe_splits(rows)]

    assert max(map(len, lines)) < 800
    assert " more" in "".join(lines)


def test_numbers_are_not_alike():
    rows = [(emotion, speaker) for emotion in ("1", "-1") for speaker in ("anna", "ben") * 3]

    assert "differ only" not in doubts_of(rows)


def test_advice_for_tables_names_columns():
    said = doubts_of([(speaker, emotion) for emotion, speaker in MIXED], is_table=True)

    assert "--columns emotion COLUMN speaker COLUMN" in said


def test_speaker_of_two_genders():
    rows = table(MIXED)
    rows.loc[:3, "gender"] = "female"
    rows.loc[4:, "gender"] = "male"

    (doubt,) = doubts(rows, Path("my"), is_table=False)
    assert "anna, ben are of both genders" in doubt


def test_sound_under_a_thousand_ids_is_told_in_a_line_that_can_be_read():
    rows = pd.DataFrame({"utterance_id": [f"clip {i}" for i in range(1000)], "sound": "silence"})

    (doubt,) = doubts_of_sounds(rows.assign(emotion="joy", split="train"))

    assert "clip 0 = clip 1 = clip 2 and 997 more" in doubt


def test_same_sound_under_two_ids():
    rows = pd.DataFrame(
        {
            "utterance_id": [*"abcde"],
            "emotion": ["joy", "fear", "joy", "joy", "joy"],
            "split": ["train", "train", "train", "test", "val"],
            "sound": [b"1", b"1", b"2", b"2", b"3"],
        }
    )

    (doubt,) = doubts_of_sounds(rows)
    assert doubt.startswith(
        "2 sounds are there under several ids (1 with different emotions, 1 with different "
        "splits): a = b, c = d."
    )
    assert doubts_of_sounds(rows.drop_duplicates("sound")) == []


def test_tidy_says_what_it_changes():
    rows = table([("joy", "anna "), (" joy", "Zoë")]).assign(gender=["Женский", "robot"])
    rows.loc[1, "speaker"] = "Zoe\u0308"  # as macOS writes it

    tidied, said = tidy(rows)

    assert tidied.to_numpy().tolist() == [["joy", "anna", "female"], ["joy", "Zoë", ""]]
    assert [line.partition(":")[0] for line in said] == ["emotion", "speaker", "gender"]
    assert "robot" in said[2]


@pytest.mark.parametrize(
    "given", ["a\u200bnger", "anger\ufeff", "\u200eanger", "ang\xader", "\x1banger"]
)
def test_characters_that_nobody_sees_make_no_other_emotion_or_speaker(given):
    tidied, said = tidy(table([("anger", "anna"), (given, given)]).assign(gender=""))

    assert tidied["emotion"].to_list() == ["anger", "anger"]
    assert tidied.loc[1, "speaker"] == "anger"
    assert repr(given) in said[0]
    assert repr(given) in said[1]


@pytest.mark.parametrize("word", ["خوش\u200cحال", "👩\u200d🦰", "a\u0301\u0323"])
def test_characters_that_join_others_are_kept(word):
    tidied, said = tidy(table([(word, "anna")]).assign(gender=""))

    assert tidied.loc[0, "emotion"] == unicodedata.normalize("NFC", word)
    assert said == []


def test_genders_of_unknown_speakers_are_not_counted():
    rows = table([("joy", ""), ("fear", "")], gender="female")

    assert describe(rows)[1] == "0 speakers; 2 clips without"


def test_counts():
    rows = table([*MIXED, ("", ""), ("joy", "")])
    rows.loc[rows["speaker"] == "anna", "gender"] = "female"

    assert describe(rows) == [
        "2 emotions: joy 7, fear 6; 1 clips without",
        "2 speakers: anna 6, ben 6; 2 clips without; 1 female",
    ]
