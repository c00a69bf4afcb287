import csv
import io
import json

import pytest

from ser_nsl.edge.rows import as_csv, as_json, as_table

ROWS = [
    ("a.wav", {"joy": 0.25, "sadness": 0.75}),
    ('odd, "name".wav', {"joy": 2 / 3, "sadness": 1 / 3}),
    ("c.wav", {"joy": 1.0, "sadness": 0.0}),
]


def test_table():
    assert list(as_table(ROWS, "file", width=6)) == [
        "file    emotion     joy  sadness",
        "a.wav   sadness   25.0%    75.0%",
        'odd, "name".wav  joy       66.7%    33.3%',
        "c.wav            joy      100.0%     0.0%",
    ]


def test_csv_is_read_back():
    lines = list(as_csv(ROWS, "file"))
    rows = list(csv.DictReader("\n".join(lines).splitlines()))

    assert lines[0] == "file,emotion,joy,sadness\na.wav,sadness,0.25,0.75"
    assert [row["file"] for row in rows] == [name for name, _ in ROWS]
    assert [row["emotion"] for row in rows] == ["sadness", "joy", "joy"]
    for row, (_, probabilities) in zip(rows, ROWS, strict=True):
        assert {label: float(row[label]) for label in probabilities} == pytest.approx(
            probabilities, abs=1e-6
        )


def test_json_is_read_back():
    lines = list(as_json([(0.5, ROWS[1][1]), ("\udcfc.wav", ROWS[0][1])], "seconds"))

    assert json.loads(lines[0]) == {
        "seconds": 0.5,
        "emotion": "joy",
        "probabilities": {"joy": 0.666667, "sadness": 0.333333},
    }
    assert json.loads(lines[1])["seconds"] == "\udcfc.wav"
    assert "\n" not in "".join(lines)


@pytest.mark.parametrize("as_lines", [as_table, as_csv, as_json])
def test_lines_are_yielded_as_soon_as_their_rows(as_lines):
    def rows():
        yield ROWS[0]
        raise EOFError

    lines = as_lines(rows(), "file")
    assert next(lines)
    with pytest.raises(EOFError):
        list(lines)
    assert list(as_lines([], "file")) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_names_are_no_formulas(start):
    row = (f"{start}HYPERLINK(A1)", {f"{start}cmd|x": 0.75, "joy": 0.25})

    header, values = csv.reader(io.StringIO("\n".join(as_csv([row], "file")), newline=""))

    assert header == ["file", "emotion", f"'{start}cmd|x", "joy"]
    assert values == [f"'{start}HYPERLINK(A1)", f"'{start}cmd|x", "0.75", "0.25"]


def test_numbers_and_other_names_stay():
    lines = "\n".join(as_csv([(-0.5, {"a=b": 1.0}), ("a-b.wav", {"a=b": 1.0})], "seconds"))

    assert lines == "seconds,emotion,a=b\n-0.5,a=b,1.0\na-b.wav,a=b,1.0"
