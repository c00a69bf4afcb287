"""docs/phones.md: what it says of the released files, and what is constant in its code."""

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter

from ser_nsl.edge import SETTINGS_NAME, Recognizer

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "phones.md").read_text()
(CPP,) = re.findall(r"```cpp\n(.*?)```", TEXT, flags=re.DOTALL)
NAMES = ("everyone", "emodb")


def told(name: str) -> dict[str, str]:
    """The column of a recogniser; rows that begin with "its" are of the row before."""
    lines = TEXT.split("\n\n| | `everyone`")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    told, role = {}, ""
    for row, *values in cells:
        role = role if row.startswith("its ") else row
        told[f"{role}: {row}" if row != role else row] = values[NAMES.index(name)]
    return told


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_record_and_files_say(name):
    record = json.loads((ROOT / "models" / name / "release.json").read_text())

    for file in record["files"]:
        given, made = file["input"], file["output"]
        path = ROOT / "models" / name / file["file"]
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            settings = json.loads(archive.read(SETTINGS_NAME))
        assert told(name) == {
            "Version": settings["version"],
            "Input": f"`{given['name']}`",
            "Input: its shape and type": f"{given['shape']}, {given['dtype']}",
            "Input: its range": "{} to {}".format(*given["range"]),
            "Input: its sample rate": f"{settings['sample_rate_hz']} Hz, one channel",
            "Output": f"`{made['name']}`",
            "Output: its shape and type": f"{made['shape']}, {made['dtype']}",
            "Output: its range": "{} to {}, sum 1".format(*made["range"]),
            "Labels, in order": ", ".join(Recognizer(path).labels),
            "Window": f"{settings['clip_samples'] / settings['sample_rate_hz']:g} s",
            "Abstain below": f"{settings['abstain_below']:g}",
            "Adapts to a speaker": "yes" if settings.get("typical") else "no",
        }
        assert settings["version"] == record["version"]
        assert "serving_default" in Interpreter(str(path)).get_signature_list()


def test_code_has_the_labels_of_the_file():
    labels = list(Recognizer(ROOT / "models/everyone/cnn_tdnn_int8.tflite").labels)

    listed = re.findall(r"[\[({](\"anger\"[^\])}]*|'anger'[^\])}]*)[\])}]", TEXT)
    assert len(listed) == 5  # MediaPipe reads them itself
    for each in listed:
        assert re.findall(r"[\"']([^\"']+)[\"']", each) == labels


def test_tflm_is_given_the_operators_of_the_int8_files():
    added = re.findall(r"ops\.Add(\w+)\(\)", CPP)
    assert f"MicroMutableOpResolver<{len(added)}>" in CPP

    for name in NAMES:
        (path,) = (ROOT / "models" / name).glob("*_int8.tflite")
        interpreter = Interpreter(str(path))
        used = {operator["op_name"].replace("_", "") for operator in interpreter._get_ops_details()}
        assert used - {"DELEGATE"} == {operator.upper() for operator in added}
