"""What is up to date."""

import os
from pathlib import Path

import pytest

import ser_nsl
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current
from tests.pipeline.stages import Style, collect, shout


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


def test_settings_must_be_plain_data(folder, tmp_path):
    with pytest.raises(TypeError, match="settings must be plain data"):
        collect(folder=folder, out=tmp_path / "out", setting=object())
