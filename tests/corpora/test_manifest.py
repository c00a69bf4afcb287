from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.corpora.manifest import (
    COLUMNS,
    audio_paths,
    check_manifest,
    read_manifest,
    write_manifest,
)
from ser_nsl.errors import InputError

ROWS = [
    ("b2", "x/b2.wav", "eve", "female", "anger", "test", 95_743 / 16_000, "mine"),
    ("a1", "x/a1.wav", "007", "male", "anger", "train", 1.0, "mine"),
    ("c3", "x/c3.wav", "ann", "female", "", "val", 0.0625625, "mine"),
    ("NA", "x/d4.wav", "", "", "fear", "train", 2.5, "mine"),
]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=COLUMNS)


@pytest.fixture
def manifest(table, tmp_path) -> Path:
    path = tmp_path / "manifest.csv"
    write_manifest(table, path)
    return path


def test_manifest_round_trip_sorted_by_id(table, manifest):
    read = read_manifest(manifest)

    assert read["utterance_id"].tolist() == ["NA", "a1", "b2", "c3"]
    pd.testing.assert_frame_equal(
        read, table.sort_values("utterance_id", ignore_index=True), atol=1e-6, rtol=0
    )
    assert manifest.read_bytes().startswith(",".join(COLUMNS).encode() + b"\n")


def test_duration_tells_the_exact_number_of_samples(manifest):
    seconds = read_manifest(manifest).set_index("utterance_id")["duration_seconds"]

    assert round(seconds["b2"] * 16_000) == 95_743
    assert round(seconds["c3"] * 16_000) == 1_001


def test_same_rows_same_bytes(table, manifest, tmp_path):
    write_manifest(table.sample(frac=1, random_state=0), tmp_path / "again.csv")

    assert (tmp_path / "again.csv").read_bytes() == manifest.read_bytes()


def test_further_columns_and_their_order_do_not_matter(table, tmp_path):
    path = tmp_path / "manifest.csv"
    table.assign(mood="x")[["mood", *reversed(COLUMNS)]].to_csv(path, index=False)

    assert read_manifest(path).columns.tolist() == list(COLUMNS)


def change(table: pd.DataFrame, row: int, **values) -> pd.DataFrame:
    for column, value in values.items():
        table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("break_rule", "words"),
    [
        (lambda t: t.head(0), "holds no clip"),
        (
            lambda t: change(t, 0, utterance_id="a1"),
            "utterance ids must be unique, but .* doubled .*first: a1",
        ),
        (lambda t: change(t, 0, utterance_id=""), "ids hold a tab or are empty"),
        (lambda t: change(t, 0, utterance_id="a\tb"), "ids hold a tab or are empty"),
        (lambda t: change(t, 0, split="dev"), r"a split must be one of .*first: dev"),
        (lambda t: change(t, 0, split=""), "a split must be one of"),
        (
            lambda t: change(t, 0, speaker="007"),
            r"a speaker must stand in one split only \(1; first: 007: in test and train\)",
        ),
        (
            lambda t: change(t, 0, emotion="joy"),
            "every class needs clips in the training split, but these have none .*first: joy",
        ),
        (lambda t: t.assign(emotion=""), "no clip has an emotion"),
    ],
)
def test_broken_rule_is_an_error_that_names_file_and_offender(break_rule, words, table, tmp_path):
    broken = break_rule(table)
    path = tmp_path / "manifest.csv"
    broken.to_csv(path, index=False)

    with pytest.raises(InputError, match=rf"source: {words}"):
        check_manifest(broken, source=Path("source"))
    with pytest.raises(InputError, match=rf"manifest\.csv: {words}"):
        read_manifest(path)


def test_first_three_offenders_are_named(table):
    doubled = pd.concat([table, table])

    with pytest.raises(InputError, match=r"doubled \(4; first: b2, a1, c3\)"):
        check_manifest(doubled, source=Path("source"))


def test_speakers_that_are_not_known_may_stand_anywhere(table):
    check_manifest(change(table, 0, speaker=""), source=Path("source"))


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_column_is_named(column, table, tmp_path):
    path = tmp_path / "manifest.csv"
    table.drop(columns=column).to_csv(path, index=False)

    with pytest.raises(InputError, match=rf"manifest\.csv: column {column} is missing"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is not a CSV table"),
        (b"a,b\n1,2\n1,2,3\n", "is not a CSV table"),
        (b"\xff\xfe\x00\x01", "is not a CSV table"),
        (b"fLaC\x00\x00 some audio", "column utterance_id, .* is missing"),
    ],
)
def test_what_is_no_manifest(content, rule, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=rf"manifest\.csv: {rule}"):
        read_manifest(path)


def test_duration_that_is_no_number(table, tmp_path):
    path = tmp_path / "manifest.csv"
    table.astype({"duration_seconds": str}).replace("1.0", "long").to_csv(path, index=False)

    with pytest.raises(InputError, match="duration_seconds must be numbers; .*long"):
        read_manifest(path)


def test_missing_manifest_tells_which_script_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: does not exist; .*prepare_corpus\.py"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is not a CSV table"):
        read_manifest(tmp_path)


def test_audio_lies_below_the_recorded_or_the_given_root(tone_corpus, tone_manifest, tmp_path):
    table = read_manifest(tone_manifest)
    moved = tmp_path / "moved"
    moved.symlink_to(tone_corpus)

    assert audio_paths(table, tone_manifest, None) == [tone_corpus / p for p in table["path"]]
    assert audio_paths(table, tone_manifest, moved) == [moved / p for p in table["path"]]


def test_missing_audio_is_named_with_its_number(tone_manifest, tmp_path):
    table = read_manifest(tone_manifest)

    with pytest.raises(
        InputError,
        match=rf"manifest\.csv: files are missing below {tmp_path} .*--audio-dir.*36; first: .*wav",
    ):
        audio_paths(table, tone_manifest, tmp_path)


@pytest.mark.parametrize("record", [None, '{"paths": {"model_dir": "x"}}'])
def test_manifest_without_its_record_needs_an_audio_root(record, table, manifest, tmp_path):
    if record is not None:
        (tmp_path / "manifest.csv.stage.json").write_text(record)

    with pytest.raises(InputError, match="no record beside it tells .*pass --audio-dir"):
        audio_paths(table, manifest, None)
