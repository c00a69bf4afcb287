import csv
import io
import json

import pytest

from ser_nsl.edge.rows import as_csv, as_json, as_table

ROWS = [
    ({"file": "a.wav"}, "sadness", {"joy": 0.25, "sadness": 0.75}),
    ({"file": 'odd, "name".wav'}, "not sure", {"joy": 2 / 3, "sadness": 1 / 3}),
    ({"file": "c.wav"}, "joy", {"joy": 1.0, "sadness": 0.0}),
]


def test_table():
    assert list(as_table(ROWS, width=6)) == [
        "file    emotion      joy  sadness",
        "a.wav   sadness    25.0%    75.0%",
        'odd, "name".wav  not sure   66.7%    33.3%',
        "c.wav            joy       100.0%     0.0%",
    ]


def test_names_break_no_line_and_command_no_terminal():
    (_, line) = as_table([({"file": "a\n\x1b[31mb\udce9 é.wav"}, "joy", {"joy": 1.0})])

    assert line.startswith(r"a\n\x1b[31mb\udce9 é.wav  joy")


def test_csv_is_read_back():
    lines = list(as_csv(ROWS))
    rows = list(csv.DictReader("\n".join(lines).splitlines()))

    assert lines[0] == "file,emotion,joy,sadness\na.wav,sadness,0.25,0.75"
    assert [row["file"] for row in rows] == [keys["file"] for keys, *_ in ROWS]
    assert [row["emotion"] for row in rows] == ["sadness", "not sure", "joy"]
    for row, (_, _, probabilities) in zip(rows, ROWS, strict=True):
        assert {label: float(row[label]) for label in probabilities} == pytest.approx(
            probabilities, abs=1e-6
        )


def test_json_is_read_back():
    lines = list(
        as_json([({"seconds": 0.5}, *ROWS[1][1:]), ({"file": "\udcfc.wav"}, *ROWS[0][1:])])
    )

    assert json.loads(lines[0]) == {
        "seconds": 0.5,
        "emotion": "not sure",
        "probabilities": {"joy": 0.666667, "sadness": 0.333333},
    }
    assert json.loads(lines[1])["file"] == "\udcfc.wav"
    assert "\n" not in "".join(lines)


@pytest.mark.parametrize("as_lines", [as_table, as_csv, as_json])
def test_lines_are_yielded_as_soon_as_their_rows(as_lines):
    def rows():
        yield ROWS[0]
        raise EOFError

    lines = as_lines(rows())
    assert next(lines)
    with pytest.raises(EOFError):
        list(lines)
    assert list(as_lines([])) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_names_are_no_formulas(start):
    shares = {f"{start}cmd|x": 0.75, "joy": 0.25}
    row = ({"file": f"{start}HYPERLINK(A1)"}, f"{start}cmd|x", shares)

    header, values = csv.reader(io.StringIO("\n".join(as_csv([row])), newline=""))

    assert header == ["file", "emotion", f"'{start}cmd|x", "joy"]
    assert values == [f"'{start}HYPERLINK(A1)", f"'{start}cmd|x", "0.75", "0.25"]


def test_numbers_and_other_names_stay():
    lines = "\n".join(as_csv([({"file": name}, "a=b", {"a=b": 1.0}) for name in (-0.5, "a-b.wav")]))

    assert lines == "file,emotion,a=b\n-0.5,a=b,1.0\na-b.wav,a=b,1.0"


def test_times_stand_beside_names():
    keys = {"file": "a.wav", "from": 0.0, "to": 3.0}

    assert list(as_table([(keys, "joy", {"joy": 0.75, "sadness": 0.25})])) == [
        "file     from      to  emotion      joy  sadness",
        "a.wav     0.0     3.0  joy        75.0%    25.0%",
    ]
