import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.fuzz import Case, run_case
from ser_nsl.errors import InputError

ROOT = Path(__file__).parents[2]


def refuse(path: Path) -> None:
    raise InputError(f"{path}: is bad.")


def refuse_in_lines(path: Path) -> None:
    raise InputError("one\ntwo")


@pytest.mark.parametrize(
    ("read", "judged", "outcome"),
    [
        (Path.read_text, {"right": "text".__eq__}, fuzz.ANSWERED),
        (Path.read_text, {"right": "other".__eq__}, fuzz.WRONG),
        (Path.read_text, {}, fuzz.WRONG),
        (refuse, {}, fuzz.REFUSED),
        (refuse, {"needed": True}, fuzz.OVERCAUTIOUS),
        (refuse_in_lines, {}, fuzz.TRACEBACK),
        (Path.iterdir, {}, fuzz.TRACEBACK),
        (lambda path: time.sleep(60), {}, fuzz.HANG),
    ],
)
def test_outcomes(read, judged, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "_SECONDS_A_CASE", 1)
    case = Case(
        "text", "a\nb.txt", lambda path: path.write_text("text"), lambda p: read(p), **judged
    )
    if read is Path.iterdir:
        case = Case("text", "a.txt", lambda path: path.write_text(""), lambda p: list(p.iterdir()))

    assert run_case(case, tmp_path / case.name)[0] == outcome


@pytest.mark.slow
def test_no_input_ends_badly():
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fuzz.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-5000:]
