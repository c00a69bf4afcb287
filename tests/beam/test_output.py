"""Results on a remote file system, with a specially named local folder in its place."""

import json

import pytest

pytest.importorskip("apache_beam")

from apache_beam.io.filesystems import FileSystems

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam import output
from ser_nsl.beam.output import is_remote, local_or_remote_stage
from ser_nsl.errors import InputError


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "is_remote", lambda path: str(path).endswith("bucket"))
    return str(tmp_path / "bucket")


@local_or_remote_stage(inputs=())
def fill(*, out: str, fails: bool = False, front_end: FrontEndConfig | None = None) -> dict:
    """Writes a file into a folder."""
    FileSystems.mkdirs(f"{out}/graph")
    with FileSystems.create(f"{out}/graph/a.tsv") as opened:
        opened.write(b"a\tb\t1\n")
    if fails:
        raise RuntimeError("cancelled")
    return {"lines": 1}


@pytest.mark.parametrize(
    ("path", "remote"), [("gs://bucket/a", True), ("/home/a", False), ("a", False)]
)
def test_remote_paths_name_their_file_system(path, remote):
    assert is_remote(path) == remote


def test_record_is_written_last(remote, tmp_path):
    result = fill(out=remote, front_end=FrontEndConfig(mel_bins=8))

    record = json.loads((tmp_path / "bucket" / "stage.json").read_text())
    assert record["stage"] == "fill"
    assert record["counts"] == {"lines": 1}
    assert record["settings"]["front_end"]["mel_bins"] == 8
    assert str(result).endswith(f"-> {remote}")
    assert {path.name for path in tmp_path.iterdir()} == {"bucket"}


def test_failed_run_leaves_no_record(remote, tmp_path):
    with pytest.raises(RuntimeError, match="cancelled"):
        fill(out=remote, fails=True)

    files = [path.name for path in (tmp_path / "bucket").rglob("*") if path.is_file()]
    assert files == ["a.tsv"]


def test_remote_folder_with_files_is_refused(remote, tmp_path):
    (tmp_path / "bucket" / "deep").mkdir(parents=True)
    (tmp_path / "bucket" / "deep" / "file").touch()

    with pytest.raises(InputError, match="out: .*bucket"):
        fill(out=remote)


def test_local_folder_appears_whole(tmp_path):
    with pytest.raises(RuntimeError, match="cancelled"):
        fill(out=str(tmp_path / "out"), fails=True)
    assert not list(tmp_path.iterdir())

    fill(out=str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"graph", "stage.json"}
