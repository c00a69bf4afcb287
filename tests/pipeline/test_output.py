"""What a stage replaces, and what it never does."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import is_current
from tests.pipeline.stages import (
    Style,
    collect,
    content,
    make_nothing,
    shout,
)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("holds", [False, True])
def test_output_is_or_holds_no_input(link, holds, made, tmp_path):
    """Not even where the same stage has made it."""
    given = made
    if holds:
        given = made / "inner"
        given.mkdir()
    if link:
        (tmp_path / "link").symlink_to(made)
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out: .* is or holds the input folder, .*/made"):
        collect(folder=given, out=tmp_path / "link" if link else made)

    assert content(tmp_path) == before


def test_output_is_no_file_that_settings_name(source, tmp_path):
    lists = tmp_path / "lists.txt"
    shout(source=source, out=lists)

    with pytest.raises(InputError, match=r"is or holds the input style\.lists"):
        shout(source=source, out=lists, style=Style(lists=lists))

    assert lists.read_text() == "HELLO!"


def test_output_of_another_stage_is_not_replaced(source, made, tmp_path):
    loud = tmp_path / "loud.txt"
    shout(source=source, out=loud)
    record = loud.with_name("loud.txt.stage.json")
    record.write_text(record.read_text().replace('"shout"', '"whisper"'))
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"made was made by collect, not by make_nothing"):
        make_nothing(out=made)
    with pytest.raises(InputError, match=r"loud\.txt was made by whisper, not by shout"):
        shout(source=source, out=loud)

    assert content(tmp_path) == before


@pytest.mark.parametrize("text", ["mine", ""])
def test_file_of_no_stage_is_replaced_only_where_empty(text, source, tmp_path):
    out = tmp_path / "table.csv"
    out.write_text(text)
    if text:
        with pytest.raises(InputError, match=r"table\.csv is of no stage"):
            shout(source=source, out=out)
    else:
        shout(source=source, out=out)

    assert out.read_text() == text or "HELLO!"


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


def test_what_a_user_adds_to_an_output_is_not_replaced(made, tmp_path):
    (made / "notes").mkdir()
    (made / "notes" / "mine.md").write_text("keep")
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"holds files that collect has not made.*notes/mine\.md"):
        collect(folder=tmp_path / "given", out=made)

    assert content(tmp_path) == before


@pytest.mark.parametrize("text", ["[1]", '{"lights": 3}', '{"stage": "make_no'])
def test_json_of_others_is_no_damaged_record(text, made, tmp_path):
    (made / "stage.json").write_text(text + 'thing", ' if "no" in text else text)

    with pytest.raises(InputError, match="so it is not replaced"):
        collect(folder=tmp_path / "given", out=made)


@pytest.mark.parametrize("out", [".", "", ".."])
def test_working_folder_is_no_output(out, folder, tmp_path, monkeypatch):
    collect(folder=folder, out=tmp_path / "work")
    (tmp_path / "work" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "here" if out == ".." else tmp_path / "work")
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"out: .* is or holds the working folder, .*/work"):
        collect(folder=folder, out=out)

    assert content(tmp_path) == before


def test_file_where_a_folder_is_made(source, folder):
    with pytest.raises(InputError, match=r"out: .*source\.txt is a file, a folder is made here"):
        collect(folder=folder, out=source)

    assert source.read_text() == "hello"


def test_folder_where_a_file_is_made(source, folder):
    before = content(folder)

    with pytest.raises(InputError, match="is a folder, a file is made here; add a file name"):
        shout(source=source, out=folder)

    assert content(folder) == before


def test_pipes_and_devices_are_neither_output_nor_input(source, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(InputError, match=r"out: .*pipe is a pipe or a device"):
        shout(source=source, out=pipe)
    with pytest.raises(InputError, match=r"source: .*pipe must be a file or a folder"):
        shout(source=pipe, out=tmp_path / "loud.txt")


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


@pytest.mark.parametrize("limit", [resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE])
def test_limits_of_files_are_named(limit, tmp_path):
    script = (
        "import resource\n"
        "from pathlib import Path\n"
        "from ser_nsl.pipeline.stage import stage\n"
        '@stage(inputs=(), makes="folder")\n'
        "def write(*, out: Path) -> dict:\n"
        f"    resource.setrlimit({limit}, (32, 32))\n"
        '    opened = [(out / str(i)).open("w") for i in range(40)]\n'
        '    opened[0].write("x" * 100_000)\n'
        "    return {}\n"
        f"write(out=Path({str(tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    word = "larger" if limit == resource.RLIMIT_FSIZE else "open"
    assert f"InputError: {tmp_path / 'out'}: " in done.stderr.splitlines()[-1]
    assert word in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["source", "out", "lists"])
def test_names_that_are_too_long_are_named(name, source, tmp_path):
    given = {"source": source, "out": tmp_path / "loud.txt"}
    long = tmp_path / f"{300 * 'x'}.yaml"
    given |= {"style": Style(lists=long)} if name == "lists" else {name: long}

    with pytest.raises(InputError, match=r"xxx\.yaml.*([Ff]ile name too long|a name is longer)"):
        shout(**given)
