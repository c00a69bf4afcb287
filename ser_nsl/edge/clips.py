"""Audio files, where folders are given: those that are there, and those that come."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ser_nsl.audio.clip import SUFFIXES
from ser_nsl.errors import InputError


def list_clips(paths: Iterable[Path]) -> list[Path]:
    """Puts in place of each folder its audio files and those of its subfolders.

    Args:
        paths: Files, which may be missing, and folders.

    Returns:
        The files in the order of `paths`; those of a folder sorted, without hidden ones.

    Raises:
        InputError: If a folder holds no audio file.
    """
    clips = []
    for path in paths:
        found = _clips_in(path) if path.is_dir() else [path]
        if not found:
            raise InputError(
                f"{path}: holds no audio file; their names end in {', '.join(SUFFIXES)}."
            )
        clips += found
    return clips


def _clips_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def follow_clips(folders: Sequence[Path], *, poll_seconds: float = 1.0) -> Iterator[Path]:
    """Waits for audio files, for ever.

    Args:
        folders: Where to look, subfolders included.
        poll_seconds: Time from one look to the next.

    Yields:
        Each clip, also those that are there at the start, once its size and time of change have
        stayed for one poll: then it is complete. A clip that changes later comes again.

    Raises:
        InputError: If a folder is missing or goes away.
    """
    before: dict[Path, tuple[int, int]] = {}
    yielded: dict[Path, tuple[int, int]] = {}
    while True:
        found = _states(folders)
        yielded = {path: yielded[path] for path in yielded if path in found}
        for path, state in found.items():
            if before.get(path) == state != yielded.get(path):
                yielded[path] = state
                yield path
        before = found
        time.sleep(poll_seconds)


def _states(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each clip."""
    states = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder, or is so no more; check the path.")
        for path in _clips_in(folder):
            try:
                status = path.stat()
            except FileNotFoundError:  # gone since it was found
                continue
            states[path] = (status.st_size, status.st_mtime_ns)
    return states
