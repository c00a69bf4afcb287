import hashlib
import json
from pathlib import Path

import pytest

from ser_nsl.edge import Recognizer, find_model
from ser_nsl.edge.models import find_model_or_default, models
from ser_nsl.errors import InputError

RELEASED = Path(__file__).parents[2] / "models"
FILE = "cnn_tdnn_int8.tflite"
NAMES = ("everyone", "emodb")


@pytest.fixture(scope="module")
def entries() -> dict[str, dict]:
    return json.loads(find_model("emodb").with_name("models.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_what_was_released(name, entries):
    content = find_model(name).read_bytes()
    release = json.loads((RELEASED / name / "release.json").read_text())
    (file,) = (file for file in release["files"] if file["file"] == FILE)

    assert content == (RELEASED / name / FILE).read_bytes()
    assert entries[name] == {
        "title": release["name"],
        "version": release["version"],
        "language": {"everyone": "English, German, Italian", "emodb": "German"}[name],
        "classes": list(Recognizer(find_model(name)).labels[:-1]),
        "uar": pytest.approx(file["uar"], abs=1e-4),
        "note": release["note"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": file["input"],
        "output": file["output"],
    }


def test_the_table_lists_all_of_them(entries):
    header, *rows = models().split("\n\n")[0].splitlines()

    columns = ["name", "version", "language", "classes", "MB", "UAR", "chance", "SHA-256"]
    assert header.split() == columns
    assert tuple(row.split()[0] for row in rows) == NAMES == tuple(entries)
    uar = f"{entries['everyone']['uar']:.1%}"
    assert rows[0].split()[-3:] == [uar, "25.0%", entries["everyone"]["sha256"]]
    assert rows[0].split()[1] == entries["everyone"]["version"]
    assert "anger, happiness, neutral, sadness" in rows[0]
    given = "input waveform, float32 [1, 48000], -1 to 1, 16000 Hz"
    assert f"everyone: {given}; output probabilities, float32 [1, 5], 0 to 1" in models()
    assert "BY-NC-SA" in models()


def test_models_are_found_by_name_or_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("emodb").mkdir()  # as in the checkout's own folder `models`
    Path("mine.tflite").touch()

    assert find_model("emodb").name == "emodb.tflite"
    assert find_model(Path("mine.tflite")) == find_model("mine.tflite") == Path("mine.tflite")
    with pytest.raises(InputError, match=r"model other: .*\(everyone, emodb\)"):
        find_model("other")


def test_the_default_is_announced_in_one_line(capsys, entries):
    assert find_model_or_default(None) == find_model("everyone")
    (line,) = capsys.readouterr().err.splitlines()
    assert "everyone" in line
    assert "English, German, Italian" in line
    assert f"{entries['everyone']['uar']:.0%}" in line

    assert find_model_or_default("emodb") == find_model("emodb")
    assert capsys.readouterr() == ("", "")
