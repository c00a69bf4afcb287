import csv
import json

import pytest

from ser_nsl.edge.rows import as_csv, as_json, as_table

LABELS = ["joy", "sadness"]
ROWS = [
    ("a.wav", {"joy": 0.25, "sadness": 0.75}),
    ('odd, "name".wav', {"joy": 2 / 3, "sadness": 1 / 3}),
    ("c.wav", {"joy": 1.0, "sadness": 0.0}),
]


def test_table():
    assert list(as_table(ROWS, "file", LABELS, width=6)) == [
        "file    emotion     joy  sadness",
        "a.wav   sadness   25.0%    75.0%",
        'odd, "name".wav  joy       66.7%    33.3%',
        "c.wav            joy      100.0%     0.0%",
    ]


def test_csv_is_read_back():
    lines = list(as_csv(ROWS, "file", LABELS))
    rows = list(csv.DictReader("\n".join(lines).splitlines()))

    assert lines[0] == "file,emotion,joy,sadness\na.wav,sadness,0.25,0.75"
    assert [row["file"] for row in rows] == [heard for heard, _ in ROWS]
    assert [row["emotion"] for row in rows] == ["sadness", "joy", "joy"]
    for row, (_, probabilities) in zip(rows, ROWS, strict=True):
        assert {label: float(row[label]) for label in LABELS} == pytest.approx(
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


def test_lines_come_as_soon_as_their_rows():
    def rows():
        yield ROWS[0]
        raise EOFError

    for lines in (
        as_table(rows(), "file", LABELS),
        as_csv(rows(), "file", LABELS),
        as_json(rows(), "file"),
    ):
        assert next(lines)
        with pytest.raises(EOFError):
            list(lines)


def test_no_header_without_a_row():
    assert list(as_table([], "file", LABELS)) == list(as_csv([], "file", LABELS)) == []
