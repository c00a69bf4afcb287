"""Kills between two renames."""

import shutil
from pathlib import Path

import pytest

from ser_nsl.pipeline import swap
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current
from tests.pipeline.stages import collect, content, kill_at_rename


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
