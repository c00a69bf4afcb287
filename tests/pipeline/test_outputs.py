"""What a stage replaces, and what it never does; kills, other writers, other code."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline import code, swap
from ser_nsl.pipeline.stage import is_current, read_record, stage
from tests.pipeline.test_stage import Style, collect, content, kill_at_rename, shout


@stage(inputs=(), makes="folder")
def make_nothing(*, out: Path) -> Mapping[str, int]:
    return {}


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("hello")
    return path


@pytest.fixture
def made(tmp_path, source) -> Path:
    """A folder that `collect` has made."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.txt").write_text("a")
    collect(folder=tmp_path / "given", out=tmp_path / "made")
    return tmp_path / "made"


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


def test_what_a_user_adds_to_an_output_is_not_replaced(made, tmp_path):
    (made / "notes").mkdir()
    (made / "notes" / "mine.md").write_text("keep")
    before = content(tmp_path)

    with pytest.raises(InputError, match=r"holds files that collect has not made.*notes/mine\.md"):
        collect(folder=tmp_path / "given", out=made)

    assert content(tmp_path) == before


def test_pipes_and_devices_are_neither_output_nor_input(source, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(InputError, match=r"out: .*pipe is a pipe or a device"):
        shout(source=source, out=pipe)
    with pytest.raises(InputError, match=r"source: .*pipe must be a file or a folder"):
        shout(source=pipe, out=tmp_path / "loud.txt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:5],
        lambda text: "",
        lambda text: json.dumps(json.loads(text) | {"counts": [1]}),
        lambda text: '{"stage": "collect"',
        lambda text: json.dumps(json.loads(text) | {"settings": None}),
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


@pytest.mark.parametrize("text", ["[1]", '{"lights": 3}', '{"stage": "make_no'])
def test_json_of_others_is_no_damaged_record(text, made, tmp_path):
    (made / "stage.json").write_text(text + 'thing", ' if "no" in text else text)

    with pytest.raises(InputError, match="so it is not replaced"):
        collect(folder=tmp_path / "given", out=made)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("exchanges", [False, True])
def test_kill_between_two_renames_leaves_the_old_or_the_new(
    after, exchanges, made, tmp_path, monkeypatch
):
    arguments = {"folder": tmp_path / "given", "out": made}
    (tmp_path / "given" / "a.txt").write_text("new")
    with monkeypatch.context() as patch:
        if exchanges:
            patch.setattr(swap.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            patch.setattr(swap, "_exchange", lambda *_: False)
            kill_at_rename(patch, "made", after=after)
        with pytest.raises(KeyboardInterrupt):
            collect(**arguments)

    if exchanges:
        assert is_current(collect, arguments)
    collect(**arguments)
    assert (made / "a.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "made", "source.txt"]


def test_folder_killed_between_two_renames_comes_back(made):
    made.rename(made.with_name(".made.former"))
    swap.restore_folder(made)

    assert read_record(made)["stage"] == "collect"


def test_one_writer_at_a_time_and_its_process_is_named(made, tmp_path):
    script = (
        "import time\nfrom pathlib import Path\nfrom ser_nsl.pipeline.lock import locked\n"
        f"with locked(Path({str(made)!r})):\n    print(flush=True)\n    time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        before = content(made)
        with pytest.raises(InputError, match=rf"is being written by process {other.pid} on "):
            collect(folder=tmp_path / "given", out=made)
        assert content(made) == before
    finally:
        other.kill()
        other.communicate()

    collect(folder=tmp_path / "given", out=made)  # the lock went with its process

    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "made", "source.txt"]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda text: text.replace("upper()", "lower()"), True),
        (lambda text: text.replace("Shouts.", "Cries."), False),
        (lambda text: text + "\n# the end\n", False),
    ],
)
def test_code_counts_and_words_about_it_do_not(change, counts, source, tmp_path, monkeypatch):
    module = tmp_path / "shouting.py"
    module.write_text(
        "from pathlib import Path\n"
        "from ser_nsl.pipeline.stage import stage\n\n"
        '@stage(inputs=("source",), makes="file")\n'
        "def cry(*, source: Path, out: Path) -> dict:\n"
        '    """Shouts."""\n'
        "    out.write_text(source.read_text().upper())\n"
        "    return {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from shouting import cry

    arguments = {"source": source, "out": tmp_path / "loud.txt"}
    cry(**arguments)
    assert is_current(cry, arguments)
    time.sleep(0.01)
    module.write_text(change(module.read_text()))
    del sys.modules["shouting"]
    from shouting import cry

    assert is_current(cry, arguments) != counts
    del sys.modules["shouting"]


def test_code_of_what_a_stage_imports_counts(monkeypatch):
    """Also of what it imports while it runs, and from packages that lend names of their modules."""
    read: list[str] = []
    real = code._source
    monkeypatch.setattr(code, "_source", lambda name: read.append(name) or real(name))
    code.code_hash("ser_nsl.training.train")

    assert {"ser_nsl.training.fit", "ser_nsl.networks.resnet9", "ser_nsl.audio.records"} <= {*read}
    assert not any(name.startswith(("ser_nsl.reports", "ser_nsl.export")) for name in read)
    read.clear()
    code.code_hash("ser_nsl.export.tflite")
    assert "ser_nsl.edge.recognizer" in read


def test_logs_of_tensorboard_are_no_input(made, tmp_path):
    logs = tmp_path / "given" / "logs"
    logs.mkdir()
    (logs / "events.out.tfevents.17.host").write_bytes(b"time")

    assert is_current(collect, {"folder": tmp_path / "given", "out": made})


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


def test_inputs_may_have_names_that_are_no_text(tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / os.fsdecode(b"caf\xe9.txt")).write_text("a")
    arguments = {"folder": tmp_path / "given", "out": tmp_path / os.fsdecode(b"\xe9")}
    collect(**arguments)

    assert is_current(collect, arguments)
