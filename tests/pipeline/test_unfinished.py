"""What failures and kills leave, and what goes on from it."""

import errno
import os
from pathlib import Path

import pytest

import ser_nsl
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current
from tests.pipeline import stages
from tests.pipeline.stages import (
    collect,
    collect_slowly,
    content,
    kill_at_rename,
    shout,
)


@pytest.mark.parametrize(
    "error", [InputError("bad clip"), KeyboardInterrupt("stop"), OSError("other")]
)
def test_failure_leaves_the_earlier_output(error, trouble, folder, tmp_path):
    out = tmp_path / "out"
    collect(folder=folder, out=out)
    before = content(tmp_path)
    trouble(error)

    with pytest.raises(type(error), match=str(error)):
        collect(folder=folder, out=out)

    assert content(tmp_path) == before


def test_failure_of_the_first_run_leaves_nothing(trouble, folder, tmp_path):
    before = content(tmp_path)
    trouble(InputError("bad clip"))

    with pytest.raises(InputError, match="bad clip"):
        collect(folder=folder, out=tmp_path / "out")

    assert content(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_no_old_record_vouches_for_a_new_file(source, tmp_path, monkeypatch):
    arguments = {"source": source, "out": tmp_path / "loud.txt"}
    shout(**arguments)
    real = Path.write_text

    def full(path: Path, text: str) -> int:
        if text.startswith("{"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, text)

    before = content(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(InputError, match="no space left"):
            shout(**arguments, times=3)

    assert content(tmp_path) == before

    with monkeypatch.context() as patch:
        kill_at_rename(patch, "loud.txt", after=True)
        with pytest.raises(KeyboardInterrupt):
            shout(**arguments, times=3)

    assert (tmp_path / "loud.txt").read_text() == "HELLO!!!"
    assert read_record(tmp_path / "loud.txt") is None
    assert not is_current(shout, arguments)
    assert not is_current(shout, arguments | {"times": 3})
    shout(**arguments)
    assert is_current(shout, arguments)


def test_record_is_never_half_written(source, tmp_path, monkeypatch):
    written = []
    real = Path.write_text
    monkeypatch.setattr(
        Path, "write_text", lambda path, text: written.append(path.name) or real(path, text)
    )
    shout(source=source, out=tmp_path / "loud.txt")

    assert (tmp_path / "loud.txt.stage.json").exists()
    assert "loud.txt.stage.json" not in written


def test_what_a_killed_run_has_left_is_replaced(source, folder, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half.txt").write_text("half")
    (tmp_path / ".loud.partial.txt").write_text("half")
    (tmp_path / ".out.lock").write_text("process 1 on another machine")
    (tmp_path / ".loud.txt.record").write_text("half")
    for _ in range(2):
        collect(folder=folder, out=tmp_path / "out")
        shout(source=source, out=tmp_path / "loud.txt")

    assert sorted(content(tmp_path / "out")) == ["a.txt", "b.txt", "stage.json"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"source.txt", "folder", "out", "loud.txt", "loud.txt.stage.json"}


@pytest.fixture
def stopped(folder, tmp_path, monkeypatch) -> Path:
    """Where `collect_slowly` was interrupted after a.txt."""

    def stop(path: Path) -> None:
        if path.name == "b.txt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "look_at", stop)
        with pytest.raises(KeyboardInterrupt):
            collect_slowly(folder=folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return tmp_path / "out"


def test_unfinished_work_goes_on(stopped, folder):
    result = collect_slowly(folder=folder, out=stopped)

    assert result.counts == {"files": 1}
    assert sorted(content(stopped)) == ["a.txt", "b.txt", "stage.json"]
    assert sorted(path.name for path in stopped.parent.iterdir()) == ["folder", "out"]
    assert read_record(stopped)["counts"] == {"files": 1}
    assert collect_slowly(folder=folder, out=stopped).counts == {"files": 2}


@pytest.mark.parametrize("other", ["setting", "input", "version", "stage", "record"])
def test_unfinished_work_of_another_call_is_not_used(
    other, stopped, folder, tmp_path, monkeypatch, capsys
):
    function, setting, record = collect_slowly, "", tmp_path / ".out.partial" / "stage.json"
    if other == "setting":
        setting = "!"
    elif other == "input":
        (folder / "a.txt").write_text("c")
    elif other == "version":
        monkeypatch.setattr(ser_nsl, "__version__", "999")
    elif other == "stage":
        function = collect
        (tmp_path / ".out.partial" / "c.txt").touch()
    else:
        record.write_text(record.read_text()[:20])

    assert function(folder=folder, out=stopped, setting=setting).counts == {"files": 2}
    assert (stopped / "a.txt").read_text() == (folder / "a.txt").read_text() + setting
    differs = {
        "setting": "settings.setting",
        "input": "inputs.folder",
        "version": "version",
        "record": "code, inputs, settings, stage, version",
    }
    shown = capsys.readouterr().out
    if other == "stage":  # one that cannot go on from anything
        assert shown == ""
    else:
        assert shown.endswith(f"starts again; unfinished work there had other {differs[other]}\n")


def test_nothing_is_left_where_nothing_was_done(folder, tmp_path, monkeypatch):
    def fail(path: Path) -> None:
        raise InputError("bad clip")

    monkeypatch.setattr(stages, "look_at", fail)
    before = content(tmp_path)
    with pytest.raises(InputError, match="bad clip"):
        collect_slowly(folder=folder, out=tmp_path / "out")

    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
