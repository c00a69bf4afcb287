"""Audio files in folders: those that are there, and those that will come."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ser_nsl.audio.folders import SUFFIXES, find_audio
from ser_nsl.errors import InputError, printable

_POLL_SECONDS = 1.0  # from one look into the folders to the next


def list_clips(paths: Iterable[Path], failed: list[Path]) -> list[Path]:
    """Replaces each folder by its audio files, including those in subfolders.

    Args:
        paths: Files, which need not exist, and folders.
        failed: Gets the folders that hold no audio file, with an error on standard error.

    Returns:
        The files in the order of `paths`; those of a folder are sorted, hidden ones left out.
        What else a folder holds is counted on standard error.
    """
    clips: list[Path] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        found = find_audio(path)
        note = f"note: {path}: {found}" if str(found) else ""
        if not found.clips:
            failed.append(path)
            note = f"error: {path}: holds no audio file ({', '.join(SUFFIXES[:4])}, ...). {found}"
        if note:
            print(printable(note.rstrip()), file=sys.stderr)
        clips += found.clips
    return clips


def follow_clips(paths: Sequence[Path]) -> Iterator[Path]:
    """Yields files, then waits for audio files in folders, forever.

    Args:
        paths: Files, which need not exist, and at least one folder; subfolders are included.

    Yields:
        The files, then each clip in the folders, also those that are there already, once its size
        and modification time have not changed for a second, so that it is complete. A clip that
        changes later is yielded again.

    Raises:
        InputError: If there is no folder, or one goes away.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        raise InputError(f"follow: needs a folder; received {', '.join(map(str, paths))}.")
    yield from (path for path in paths if path not in folders)
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
        time.sleep(_POLL_SECONDS)


def _states(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Returns the size and modification time of each clip."""
    states = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no longer a folder; check the path.")
        for path in find_audio(folder).clips:
            try:
                status = path.stat()
            except OSError:  # deleted since it was found, or its disk is gone for now
                continue
            states[path] = (status.st_size, status.st_mtime_ns)
    return states
