from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ser_nsl.edge import clips
from ser_nsl.edge.clips import follow_clips, list_clips
from ser_nsl.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("b.wav", "a.FLAC", "d.ogg"):
        (folder / name).write_bytes(b"1")
    return folder


def test_folders_become_their_clips(folder, tmp_path):
    for name in ("deep/er/c.mp3", "notes.txt", "._b.wav", "wav", "folder.wav/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")

    found = list_clips([tmp_path / "missing.wav", folder, folder / "notes.txt"], [])

    expected = ["missing.wav", "a.FLAC", "b.wav", "d.ogg", "c.mp3", "notes.txt"]
    assert [path.name for path in found] == expected


def test_what_a_folder_holds_besides_is_told(folder, capsys):
    (folder / "notes.txt").write_bytes(b"1")

    list_clips([folder], [])

    told = f"note: {folder}: not read: 1 .txt (first: notes.txt)\n"
    assert capsys.readouterr().err == told


def test_a_folder_without_clips_is_told_and_ends_no_batch(folder, capsys):
    empty = folder / "empty"
    empty.mkdir()
    failed: list[Path] = []

    assert [path.name for path in list_clips([empty, folder], failed)] == [
        "a.FLAC",
        "b.wav",
        "d.ogg",
    ]
    assert failed == [empty]
    assert capsys.readouterr().err.startswith(f"error: {empty}: holds no audio file (.wav, .flac")


def follow(monkeypatch, paths: list[Path], *actions: Callable[[], object]) -> list[str]:
    """Does an action at each poll; returns the clips, each with the number of polls before it."""
    polls = 0

    def sleep(seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls > len(actions):
            raise KeyboardInterrupt
        actions[polls - 1]()

    def until_stopped() -> Iterator[str]:
        try:
            for clip in follow_clips(paths):
                yield f"{clip.name} {polls}"
        except KeyboardInterrupt:
            return

    monkeypatch.setattr(clips.time, "sleep", sleep)
    return list(until_stopped())


def nothing() -> None:
    pass


def grow(path: Path) -> Callable[[], None]:
    def act() -> None:
        with path.open("ab") as file:
            file.write(b"1")

    return act


def test_clips_are_yielded_once_they_stay_as_they_are(folder, monkeypatch):
    new = folder / "new.wav"
    paths = [folder, folder.with_name("first.wav")]
    found = follow(monkeypatch, paths, grow(new), grow(new), grow(new), nothing, nothing, nothing)

    assert found == ["first.wav 0", "a.FLAC 1", "b.wav 1", "d.ogg 1", "new.wav 4"]


def test_clips_that_change_or_come_back_are_yielded_again(folder, monkeypatch):
    clip, away = folder / "b.wav", folder.with_name("b.wav")
    found = follow(
        monkeypatch,
        [folder],
        *(nothing, grow(clip), nothing, clip.unlink, grow(clip), nothing),
        *(lambda: clip.rename(away), lambda: away.rename(clip), nothing, nothing),
    )

    assert [name for name in found if name.startswith("b")] == [
        *("b.wav 1", "b.wav 3", "b.wav 6", "b.wav 9")
    ]


def test_folders_may_be_empty_but_not_missing(tmp_path, monkeypatch):
    folder = tmp_path / "recordings"
    with pytest.raises(InputError, match="follow: needs a folder; received .*recordings"):
        follow(monkeypatch, [folder])

    folder.mkdir()
    assert follow(monkeypatch, [folder], nothing) == []
    with pytest.raises(InputError, match="recordings: is no longer a folder"):
        follow(monkeypatch, [folder], nothing, folder.rmdir)
