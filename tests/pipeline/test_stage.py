import errno
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from IPython.lib.pretty import pretty

import ser_nsl
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import StageResult, is_current, read_record, stage


@dataclass(frozen=True)
class Style:
    mark: str = "!"
    lists: Path | None = None


@stage(inputs=("source", "extra"), makes="file")
def shout(
    *,
    source: Path | str,
    out: Path,
    extra: Path | None = None,
    times: int = 1,
    style: Style = Style(),  # noqa: B008 (frozen)
) -> Mapping[str, int]:
    text = Path(source).read_text() if Path(source).exists() else str(source)
    out.write_text(text.upper() + times * style.mark)
    return {"letters": len(text), "dropped": []}


@stage(inputs=("folder",), makes="folder")
def collect(*, folder: Path, out: Path, setting: object = None) -> Mapping[str, int]:
    for path in sorted(folder.rglob("*.txt")):
        (out / path.name).write_text(path.read_text())
        look_at(path)
    return {"files": len(list(out.iterdir()))}


@stage(inputs=("folder",), makes="folder", resumes=True)
def collect_slowly(*, folder: Path, out: Path, setting: str = "") -> Mapping[str, int]:
    found = [path for path in sorted(folder.rglob("*.txt")) if not (out / path.name).exists()]
    for path in found:
        look_at(path)
        (out / path.name).write_text(path.read_text() + setting)
    return {"files": len(found)}


def look_at(path: Path) -> None:
    """Does nothing, until a test wants trouble."""


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("hello")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("b")
    return folder


@pytest.fixture
def trouble(monkeypatch):
    """Makes `collect` fail after its first file."""

    def arrange(error: BaseException) -> None:
        def fail(path: Path) -> None:
            raise error

        monkeypatch.setattr(sys.modules[__name__], "look_at", fail)

    return arrange


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


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


def test_texts_stand_for_paths(folder, tmp_path):
    out = tmp_path / "out"
    collect(folder=folder, out=out)
    by_paths = read_record(out)

    assert is_current(collect, {"folder": str(folder), "out": str(out)})
    result = collect(folder=str(folder), out=str(out))

    assert result.out == out
    assert read_record(out)["paths"] == by_paths["paths"] == {"folder": str(folder)}


def test_no_record_where_no_stage_ran(tmp_path):
    assert read_record(tmp_path / "nothing") is None


def make_newer(out: Path, **_):
    """A later edit of the same content changes nothing."""
    os.utime(out.parent / "source.txt", (2e9, 2e9))


@pytest.mark.parametrize("change", [lambda **_: None, make_newer])
def test_is_current_after_a_run(change, source, tmp_path):
    arguments = {"source": source, "out": tmp_path / "loud.txt", "style": Style("?")}
    assert not is_current(shout, arguments)
    shout(**arguments)
    change(**arguments)

    assert is_current(shout, arguments)
    assert is_current(shout, arguments | {"times": 1})


@pytest.mark.parametrize(
    "change",
    [
        lambda arguments: arguments.update(times=2),
        lambda arguments: arguments.update(style=Style("?")),
        lambda arguments: arguments.update(extra=arguments["source"]),
        lambda arguments: arguments["source"].write_text("Hello"),
        lambda arguments: arguments["out"].unlink(),
        lambda arguments: arguments["out"].with_name("loud.txt.stage.json").unlink(),
    ],
)
def test_is_not_current_after_a_change(change, source, tmp_path):
    arguments = {"source": source, "out": tmp_path / "loud.txt"}
    shout(**arguments)
    change(arguments)

    assert not is_current(shout, arguments)


def test_what_a_file_named_in_the_settings_holds_is_a_setting(source, tmp_path):
    lists = tmp_path / "lists.json"
    lists.write_text("[1]")
    arguments = {"source": source, "out": tmp_path / "out.txt", "style": Style(lists=lists)}
    shout(**arguments)

    record = read_record(tmp_path / "out.txt")
    assert record["settings"]["style"] == {"mark": "!", "lists": str(lists)}
    assert is_current(shout, arguments)
    lists.write_text("[2]")
    assert not is_current(shout, arguments)


def test_is_not_current_in_another_version(source, tmp_path, monkeypatch):
    arguments = {"source": source, "out": tmp_path / "loud.txt"}
    shout(**arguments)
    monkeypatch.setattr(ser_nsl, "__version__", "999")

    assert not is_current(shout, arguments)


def test_is_not_current_for_another_stage(source, folder, tmp_path):
    collect(folder=folder, out=tmp_path / "out")

    assert not is_current(shout, {"source": source, "out": tmp_path / "out"})


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "sub" / "b.txt").write_text("c"),
        lambda folder: (folder / "a.txt").rename(folder / "c.txt"),
        lambda folder: (folder / "new.txt").touch(),
        lambda folder: (folder / "sub" / "b.txt").unlink(),
    ],
)
def test_every_file_of_a_folder_counts(change, folder, tmp_path):
    arguments = {"folder": folder, "out": tmp_path / "out"}
    collect(**arguments)
    change(folder)

    assert not is_current(collect, arguments)


@pytest.mark.parametrize("name", ["stage.json", "sub/graph.stage.json"])
def test_records_in_an_input_folder_do_not_count(name, folder, tmp_path):
    arguments = {"folder": folder, "out": tmp_path / "out"}
    collect(**arguments)
    (folder / name).write_text('{"seconds": 3}')

    assert is_current(collect, arguments)


def test_name_of_something_elsewhere_stands_for_itself(tmp_path):
    arguments = {"source": "hub/model", "out": tmp_path / "loud.txt"}
    shout(**arguments)

    assert (tmp_path / "loud.txt").read_text() == "HUB/MODEL!"
    assert read_record(tmp_path / "loud.txt")["inputs"]["source"] == "hub/model"
    assert is_current(shout, arguments)
    assert not is_current(shout, arguments | {"source": "hub/other"})


def test_names_and_folders_stand_side_by_side(folder, tmp_path):
    @stage(inputs=("models",), makes="file")
    def count(*, models: tuple[str, ...], out: Path) -> Mapping[str, int]:
        out.write_text(str(len(models)))
        return {"models": len(models)}

    arguments = {"models": ("hub/model", str(folder)), "out": tmp_path / "count.txt"}
    count(**arguments)

    assert read_record(tmp_path / "count.txt")["inputs"]["models"][0] == "hub/model"
    assert is_current(count, arguments)
    (folder / "a.txt").write_text("changed")
    assert not is_current(count, arguments)


def test_text_that_is_a_path_is_hashed(source, tmp_path):
    arguments = {"source": str(source), "out": tmp_path / "loud.txt"}
    shout(**arguments)
    assert is_current(shout, arguments)
    source.write_text("other")

    assert not is_current(shout, arguments)


@pytest.mark.parametrize("function", [shout, lambda **given: is_current(shout, given)])
def test_missing_input_is_an_error_that_names_it(function, tmp_path):
    out = tmp_path / "loud.txt"
    shout(source="hub/model", out=out)
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"source: .*none\.txt does not exist; check the path"):
        function(source=tmp_path / "none.txt", out=out)

    assert content(tmp_path) == before


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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, "quota"),
        RuntimeError("train-00000-of-00004.tfrecord; No space left on device"),  # TensorFlow
    ],
)
def test_full_disk_is_an_error_that_says_so(error, trouble, folder, tmp_path):
    out = tmp_path / "out"
    collect(folder=folder, out=out)
    before = content(tmp_path)
    trouble(error)

    with pytest.raises(InputError, match=r"out: no space left on the disk; free some"):
        collect(folder=folder, out=out)

    assert content(tmp_path) == before


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


def kill_at_rename(patch, name: str, *, after: bool) -> None:
    """Ends the process, in effect, before or after a path gets this name."""
    for method in ("rename", "replace"):
        real = getattr(Path, method)

        def kill(path: Path, target: Path, real=real) -> Path:
            if Path(target).name != name:
                return real(path, target)
            if after:
                real(path, target)
            raise KeyboardInterrupt

        patch.setattr(Path, method, kill)


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


def test_folder_that_no_stage_has_made_is_not_replaced(folder, tmp_path):
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "photo.txt").write_text("sea")
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out: .*holiday is of no stage"):
        collect(folder=folder, out=out)

    assert content(tmp_path) == before


def test_empty_folder_and_earlier_output_are_replaced(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = collect(folder=folder, out=out)
    (folder / "a.txt").unlink()
    second = collect(folder=folder, out=out)

    assert sorted(content(out)) == ["b.txt", "stage.json"]
    assert (first.replaced, second.replaced) == (False, True)


def test_kill_while_the_former_output_goes_leaves_the_new_one_whole(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    collect(folder=folder, out=out)
    (folder / "a.txt").write_text("new")

    def kill_after_a_file(path: Path) -> None:
        next(path.glob("*.txt")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", kill_after_a_file)
    with pytest.raises(KeyboardInterrupt):
        collect(folder=folder, out=out)

    assert sorted(content(out)) == ["a.txt", "b.txt", "stage.json"]
    assert (out / "a.txt").read_text() == "new"


def test_file_where_a_folder_is_made(source, folder):
    with pytest.raises(InputError, match=r"out: .*source\.txt is a file, a folder is made here"):
        collect(folder=folder, out=source)

    assert source.read_text() == "hello"


def test_folder_where_a_file_is_made(source, folder):
    before = content(folder)

    with pytest.raises(InputError, match="is a folder, a file is made here; add a file name"):
        shout(source=source, out=folder)

    assert content(folder) == before


@pytest.mark.parametrize("method", ["touch", "mkdir", "exists", "is_dir"])
def test_place_that_refuses_to_be_written(method, source, folder, tmp_path, monkeypatch):
    """Simulated, since root may write everywhere."""
    out = tmp_path / "locked" / "out.txt"
    real = getattr(Path, method)

    def refuse(path: Path, **options):
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, **options)

    monkeypatch.setattr(Path, method, refuse)
    call = collect if method in ("mkdir", "exists") else shout
    given = {"folder": folder} if call is collect else {"source": source}

    with pytest.raises(InputError, match=r"out: .*out\.txt cannot be written \(Permission denied"):
        call(**given, out=out)


def test_file_in_the_place_of_a_parent_folder(source, folder):
    with pytest.raises(InputError, match=r"out: .*deep cannot be written \(Not a directory\)"):
        collect(folder=folder, out=source / "very" / "deep")


def test_link_to_another_disk_stays_a_link(source, folder, tmp_path):
    real, link = tmp_path / "scratch", tmp_path / "out"
    real.mkdir()
    link.symlink_to(real)
    for _ in range(2):
        collect(folder=folder, out=link)

    assert link.is_symlink()
    assert sorted(content(real)) == ["a.txt", "b.txt", "stage.json"]
    assert is_current(collect, {"folder": folder, "out": link})

    file = tmp_path / "loud.txt"
    file.symlink_to(real / "louder.txt")
    shout(source=source, out=file)

    assert file.is_symlink()
    assert (real / "louder.txt").read_text() == "HELLO!"
    assert is_current(shout, {"source": source, "out": file})


@pytest.mark.parametrize("out", [".", "", ".."])
def test_working_folder_is_no_output(out, folder, tmp_path, monkeypatch):
    collect(folder=folder, out=tmp_path / "work")
    (tmp_path / "work" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "here" if out == ".." else tmp_path / "work")
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out: .* is or holds the working folder, .*/work"):
        collect(folder=folder, out=out)

    assert content(tmp_path) == before


def test_settings_must_be_plain_data(folder, tmp_path):
    with pytest.raises(TypeError, match="settings must be plain data"):
        collect(folder=folder, out=tmp_path / "out", setting=object())


@pytest.fixture
def stopped(folder, tmp_path, monkeypatch) -> Path:
    """Where `collect_slowly` was interrupted after a.txt."""

    def stop(path: Path) -> None:
        if path.name == "b.txt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "look_at", stop)
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

    monkeypatch.setattr(sys.modules[__name__], "look_at", fail)
    before = content(tmp_path)
    with pytest.raises(InputError, match="bad clip"):
        collect_slowly(folder=folder, out=tmp_path / "out")

    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
