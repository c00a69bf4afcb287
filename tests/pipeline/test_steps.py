from pathlib import Path

import pytest

from ser_nsl.pipeline.stage import stage
from ser_nsl.pipeline.steps import Step, pending, run_steps


@stage(inputs=("parts",), makes="file")
def join(*, parts: tuple[Path, ...], out: Path):
    """Joins files."""
    out.write_text("".join(part.read_text() for part in parts))
    return {"parts": len(parts)}


@pytest.fixture
def steps(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = Step(join, {"parts": (tmp_path / "a", tmp_path / "b"), "out": tmp_path / "ab"})
    second = Step(join, {"parts": (tmp_path / "ab", tmp_path / "a"), "out": tmp_path / "aba"})
    other = Step(join, {"parts": (tmp_path / "a",), "out": tmp_path / "other"})
    return [first, second, other]


def test_what_is_up_to_date_is_not_made_again(steps, tmp_path, capsys):
    assert pending(steps) == [True, True, True]
    run_steps(steps)
    assert (tmp_path / "aba").read_text() == "aba"
    assert pending(steps) == [False, False, False]
    capsys.readouterr()

    run_steps(steps)

    assert capsys.readouterr().out.count("up to date") == 3


def test_a_changed_input_reaches_all_that_follows(steps, tmp_path, capsys):
    run_steps(steps)
    (tmp_path / "b").write_text("c")
    assert pending(steps) == [True, True, False]
    capsys.readouterr()

    run_steps(steps)

    assert (tmp_path / "aba").read_text() == "aca"
    assert capsys.readouterr().out.count("up to date") == 1
