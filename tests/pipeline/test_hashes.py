"""Which inputs count, and which of their files."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current, stage
from tests.pipeline.stages import collect, content, shout


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


def test_logs_of_tensorboard_are_no_input(made, tmp_path):
    logs = tmp_path / "given" / "logs"
    logs.mkdir()
    (logs / "events.out.tfevents.17.host").write_bytes(b"time")

    assert is_current(collect, {"folder": tmp_path / "given", "out": made})


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


def test_inputs_may_have_names_that_are_no_text(tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / os.fsdecode(b"caf\xe9.txt")).write_text("a")
    arguments = {"folder": tmp_path / "given", "out": tmp_path / os.fsdecode(b"\xe9")}
    collect(**arguments)

    assert is_current(collect, arguments)
