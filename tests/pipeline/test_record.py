"""What a stage records, and what is read from it."""

import json
from pathlib import Path

import pytest
from IPython.lib.pretty import pretty

import ser_nsl
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import StageResult, is_current
from tests.pipeline.stages import (
    collect,
    content,
    shout,
)


def test_file_and_the_record_beside_it(source, tmp_path):
    out = tmp_path / "new" / "loud.txt"

    result = shout(source=source, out=out, times=2)

    assert out.read_text() == "HELLO!!"
    assert sorted(path.name for path in out.parent.iterdir()) == ["loud.txt", "loud.txt.stage.json"]
    record = json.loads((out.parent / "loud.txt.stage.json").read_text())
    assert record == read_record(out)
    assert record["stage"] == "shout"
    assert record["version"] == ser_nsl.__version__
    assert record["settings"] == {"times": 2, "style": {"mark": "!", "lists": None}}
    assert record["inputs"].keys() == {"source", "extra"}
    assert record["inputs"]["extra"] is None
    assert record["paths"] == {"source": str(source)}
    assert record["counts"] == {"letters": 5, "dropped": []}
    assert record["files"] == {"loud.txt": 7}
    assert {"python", "numpy", "tensorflow"} <= record["versions"].keys()
    assert record["seconds"] >= 0
    assert result == StageResult("shout", out, {"letters": 5, "dropped": []}, record["seconds"])
    assert str(result).startswith("shout: letters 5 (0.0 s)\n")
    assert str(result).endswith(f"\n  -> {out}")
    assert pretty(result) == str(result)
    again = shout(source=source, out=out, times=2)
    assert str(again).endswith(f"\n  replaces {out}")


def test_folder_and_the_record_in_it(folder, tmp_path):
    out = tmp_path / "out"

    collect(folder=folder, out=out)

    assert sorted(content(out)) == ["a.txt", "b.txt", "stage.json"]
    assert read_record(out)["counts"] == {"files": 2}
    assert read_record(out)["files"] == {"a.txt": 1, "b.txt": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "out"]


def test_relative_paths_are_recorded_absolutely(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shout(source=Path("source.txt"), out=Path("loud.txt"))

    assert read_record(Path("loud.txt"))["paths"] == {"source": str(source)}


def test_no_record_where_no_stage_ran(tmp_path):
    assert read_record(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:5],
        lambda text: "",
        lambda text: json.dumps(json.loads(text) | {"counts": [1]}),
        lambda text: '{"stage": "collect"',
        lambda text: json.dumps(json.loads(text) | {"settings": None}),
        lambda text: json.dumps(json.loads(text) | {"files": {"a.txt": "5"}}),
        lambda text: json.dumps(json.loads(text) | {"paths": {"folder": None}}),
        lambda text: json.dumps(json.loads(text) | {"inputs": {"folder": [5]}}),
    ],
)
def test_damaged_record_means_not_up_to_date(damage, made, tmp_path):
    arguments = {"folder": tmp_path / "given", "out": made}
    assert is_current(collect, arguments)
    path = made / "stage.json"
    path.write_text(damage(path.read_text()))

    assert read_record(made) is None
    assert not is_current(collect, arguments)
    collect(**arguments)
    assert is_current(collect, arguments)
