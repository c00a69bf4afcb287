import json
from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.corpora import audio_paths, read_manifest
from ser_nsl.corpora.manifest import COLUMNS, check_manifest, training_data_note, write_manifest
from ser_nsl.errors import InputError

ROWS = [
    ("b2", "x/b2.wav", "eve", "female", "anger", "test", 95_743 / 16_000, "mine"),
    ("a1", "x/a1.wav", "007", "male", "anger", "train", 1.0, "mine"),
    ("c3", "x/c3.wav", "ann", "female", "", "val", 0.0625625, "mine"),
    ("NA", "x/d4.wav", "", "", "fear", "train", 2.5, "emovo"),
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
    samples = (16_000 * read.set_index("utterance_id")["duration_seconds"]).round()
    assert (samples["b2"], samples["c3"]) == (95_743, 1_001)
    assert manifest.read_bytes().startswith(",".join(COLUMNS).encode() + b"\n")


def test_order_of_rows_and_further_columns_do_not_matter(table, manifest, tmp_path):
    path = tmp_path / "again.csv"
    write_manifest(table.sample(frac=1, random_state=0), path)
    assert path.read_bytes() == manifest.read_bytes()

    table.assign(mood="x")[["mood", *reversed(COLUMNS)]].to_csv(path, index=False)
    assert read_manifest(path).columns.tolist() == list(COLUMNS)


def change(table: pd.DataFrame, row: int, **values) -> pd.DataFrame:
    for column, value in values.items():
        table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("break_rule", "rule"),
    [
        (lambda t: t.head(0), "no clip"),
        (
            lambda t: change(t, 0, utterance_id="a1"),
            r"unique.*2; first: a1 by x/b2\.wav, a1 by x/a1\.wav",
        ),
        (lambda t: change(t, 0, utterance_id=""), "ids must not be empty"),
        (lambda t: change(t, 0, utterance_id="a\tb"), "ids must not .* tabs"),
        (lambda t: change(t, 0, split="dev"), "split must be one of .*first: 'dev'"),
        (lambda t: change(t, 0, split=""), "split must be one of"),
        (lambda t: change(t, 0, speaker="007"), "1; first: 007: in test and train"),
        (lambda t: change(t, 0, emotion="joy"), "every class .*first: joy"),
        (lambda t: t.assign(emotion=""), "no clip has an emotion"),
    ],
)
def test_broken_rule_is_an_error_that_names_file_and_offender(break_rule, rule, table, tmp_path):
    broken = break_rule(table)
    path = tmp_path / "manifest.csv"
    broken.to_csv(path, index=False)

    with pytest.raises(InputError, match=rf"^source: .*{rule}"):
        check_manifest(broken, source=Path("source"))
    with pytest.raises(InputError, match=rf"manifest\.csv: .*{rule}"):
        read_manifest(path)


def test_first_three_offenders_are_named(table):
    with pytest.raises(InputError, match=r"8; first: NA by x/d4\.wav, NA by .*, a1 by x/a1\.wav\)"):
        check_manifest(pd.concat([table, table]), source=Path("source"))


def test_spaces_of_an_edited_manifest_are_refused_by_line(table, manifest):
    text = manifest.read_text()

    manifest.write_text(text.replace("anger,test", "anger ,test"))
    with pytest.raises(InputError, match=r"emotion must have no space .*'anger ' in line 4\)"):
        read_manifest(manifest)
    manifest.write_text(text.replace(",ann,", ", ann,"))
    with pytest.raises(InputError, match=r"speaker .*' ann' in line 5\)"):
        read_manifest(manifest)
    manifest.write_text(text.replace(",anger,", ",\x84nger,"))  # a label that no recogniser has
    with pytest.raises(InputError, match=r"emotion .*'\\x84nger' in line"):
        read_manifest(manifest)


def test_emotions_and_speakers_that_an_editor_spelt_in_two_ways_are_told_once(
    table, manifest, capsys
):
    change(table, 3, emotion="Anger", speaker="7")
    write_manifest(table, manifest)
    record = manifest.with_name("manifest.csv.stage.json")
    lines = [f"doubt: {manifest}: {names} may be one" for names in ("Anger, anger", "7, 007")]

    for doubts, told in (([], 2), (["emotions Anger, anger differ only in case"], 1)):
        record.write_text(json.dumps({"counts": {"doubts": doubts}}))
        read_manifest(manifest)
        printed = capsys.readouterr().err
        assert [line for line in lines if line in printed] == lines[2 - told :]


def test_speakers_that_are_not_known_may_be_anywhere(table):
    check_manifest(change(table, 0, speaker=""), source=Path("source"))


@pytest.mark.parametrize("column", ["utterance_id", "corpus"])
def test_missing_column_is_named(column, table, tmp_path):
    path = tmp_path / "manifest.csv"
    table.drop(columns=column).to_csv(path, index=False)

    with pytest.raises(InputError, match=rf"manifest\.csv: column {column} "):
        read_manifest(path)


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n1,2,3\n", b"\xff\xfe\x00\x01", b"fLaC\x00\x00"]
)
def test_what_is_no_manifest(content, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"manifest\.csv: "):
        read_manifest(path)


def test_duration_that_is_no_number(table, tmp_path):
    path = tmp_path / "manifest.csv"
    table.astype({"duration_seconds": str}).replace("1.0", "long").to_csv(path, index=False)

    with pytest.raises(InputError, match="duration_seconds .*long"):
        read_manifest(path)


def test_missing_manifest_names_the_script_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: "):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(InputError, match=str(tmp_path)):
        read_manifest(tmp_path)


def test_note_has_the_licences_of_known_corpora(table):
    note = training_data_note(table)

    assert "EMOVO (research use)" in note and "mine (terms unknown)" in note


def test_audio_is_below_the_recorded_or_the_given_root(tone_corpus, tone_manifest, tmp_path):
    table = read_manifest(tone_manifest)
    moved = tmp_path / "moved"
    moved.symlink_to(tone_corpus)

    assert audio_paths(table, tone_manifest, None) == [tone_corpus / p for p in table["path"]]
    assert audio_paths(table, tone_manifest, moved) == [moved / p for p in table["path"]]
    with pytest.raises(
        InputError, match=rf"manifest\.csv: .*{tmp_path} .*--audio-dir.*36; first: .*wav"
    ):
        audio_paths(table, tone_manifest, tmp_path)


@pytest.mark.parametrize("record", [None, '{"paths": {"model_dir": "x"}}'])
def test_manifest_without_its_record_needs_an_audio_root(record, table, manifest, tmp_path):
    if record is not None:
        (tmp_path / "manifest.csv.stage.json").write_text(record)

    with pytest.raises(InputError, match=r"manifest\.csv: .*--audio-dir"):
        audio_paths(table, manifest, None)


@pytest.mark.parametrize("cut", [b",ravdess,", b"\n", b"0,ravdess,"])
def test_manifest_that_was_cut_is_refused(cut, tone_manifest, tmp_path):
    data = tone_manifest.read_bytes()
    (tmp_path / "cut.csv").write_bytes(data[: data.rindex(cut)])

    with pytest.raises(InputError, match=r"cut\.csv: is cut off"):
        read_manifest(tmp_path / "cut.csv")


def test_manifest_with_a_broken_line_or_a_column_twice_is_refused(tone_manifest, tmp_path):
    data, path = tone_manifest.read_bytes(), tmp_path / "broken.csv"
    path.write_bytes(data.replace(b",ravdess,", b",", 1))
    with pytest.raises(InputError, match=r"broken\.csv: .* a line is broken \(2\)"):
        read_manifest(path)

    path.write_bytes(data.replace(b",gender,", b",speaker,", 1))
    with pytest.raises(InputError, match=r"broken\.csv: columns are there twice .*speaker"):
        read_manifest(path)


@pytest.mark.parametrize("path", ["a" * 5000, "\0"])
def test_names_that_no_file_can_have_are_missing_files(path, tone_manifest, tone_corpus):
    table = read_manifest(tone_manifest)
    table.loc[0, "path"] = path

    with pytest.raises(InputError, match="files are missing"):
        audio_paths(table, tone_manifest, tone_corpus)
