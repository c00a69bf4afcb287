import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ser_nsl.edge import clips
from ser_nsl.edge.clips import follow_clips, list_clips
from ser_nsl.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "recordings"
    for name in ("b.wav", "a.FLAC", "deep/er/c.mp3", "d.ogg", "notes.txt", "._b.wav", "wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")
    (folder / "folder.wav").mkdir()
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_folders_become_their_clips(folder, tmp_path):
    paths = [tmp_path / "missing.wav", folder, folder / "notes.txt"]

    expected = ["missing.wav", "a.FLAC", "b.wav", "d.ogg", "c.mp3", "notes.txt"]
    assert names(list_clips(paths)) == expected


def test_a_folder_without_clips_is_refused(folder):
    shutil.rmtree(folder / "deep" / "er")

    with pytest.raises(InputError, match=r"deep: holds no audio file; .*\.flac"):
        list_clips([folder, folder / "deep"])


class Polls:
    """Does something in place of each sleep, and ends when nothing is left to do."""

    def __init__(self, folder: Path, *actions: Callable[[], object]) -> None:
        self.actions = iter(actions)
        self.clips = follow_clips([folder])
        self.sleeps = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        action = next(self.actions, None)
        if action is None:
            raise KeyboardInterrupt
        action()

    def __iter__(self) -> Iterator[str]:
        try:
            for clip in self.clips:
                yield f"{clip.name} {len(self.sleeps)}"
        except KeyboardInterrupt:
            return


def follow(monkeypatch, folder: Path, *actions: Callable[[], object]) -> list[str]:
    """Names of the clips, each with the number of polls before it."""
    polls = Polls(folder, *actions)
    monkeypatch.setattr(clips.time, "sleep", polls.sleep)
    return list(polls)


def nothing() -> None:
    pass


def grow(path: Path) -> Callable[[], None]:
    def act() -> None:
        with path.open("ab") as file:
            file.write(b"1")

    return act


def test_clips_come_once_they_stay_as_they_are(folder, monkeypatch):
    shutil.rmtree(folder / "deep")
    new = folder / "new.wav"
    found = follow(monkeypatch, folder, grow(new), grow(new), grow(new), nothing, nothing, nothing)

    assert found == ["a.FLAC 1", "b.wav 1", "d.ogg 1", "new.wav 4"]


def test_clips_that_change_or_come_back_come_again(folder, monkeypatch):
    shutil.rmtree(folder / "deep")
    for name in ("a.FLAC", "d.ogg"):
        (folder / name).unlink()
    clip = folder / "b.wav"
    found = follow(
        monkeypatch, folder, nothing, grow(clip), nothing, clip.unlink, grow(clip), nothing, nothing
    )

    assert found == ["b.wav 1", "b.wav 3", "b.wav 6"]


def test_clips_that_are_gone_are_forgotten(folder, monkeypatch, tmp_path):
    shutil.rmtree(folder / "deep")
    clip, away = folder / "b.wav", tmp_path / "b.wav"
    found = follow(
        monkeypatch,
        folder,
        *(nothing, lambda: clip.rename(away), lambda: away.rename(clip), nothing, nothing),
    )

    assert found == ["a.FLAC 1", "b.wav 1", "d.ogg 1", "b.wav 4"]


def test_folders_may_be_empty_but_not_missing(folder, monkeypatch):
    shutil.rmtree(folder)
    folder.mkdir()

    assert follow(monkeypatch, folder, nothing) == []
    with pytest.raises(InputError, match="recordings: is no folder"):
        follow(monkeypatch, folder, nothing, folder.rmdir)
