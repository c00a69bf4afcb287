"""Which files in a folder are audio, and what else there is."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_nsl.audio import foreign

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus"),
    *(".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".wave", ".bwf", ".w64", ".rf64", ".voc"),
    *(".nist", ".sph", ".ircam", ".svx", ".avr", ".paf", ".pvf"),
    *foreign.SUFFIXES,
)
"""Suffixes of files that count as audio in folders: those of libsndfile, then those of ffmpeg."""


@dataclass(frozen=True)
class Found:
    """What is in a folder.

    Attributes:
        clips: Audio files, sorted.
        others: Files and folders that are not read, sorted; names that begin with a dot are not
            among the files.
        hidden: Folders whose names begin with a dot, which are not searched, and such files with a
            suffix of audio, as `._1.wav` of a Mac.
    """

    clips: Sequence[Path]
    others: Sequence[Path]
    hidden: Sequence[Path]

    @property
    def not_read(self) -> dict[str, int]:
        """How many there are of what is not read, by suffix or kind."""
        kinds = Counter(
            "links to folders"
            if path.is_symlink() and path.is_dir()
            else path.suffix.lower() or "no suffix"
            for path in self.others
        )
        kinds.update("hidden folders" if path.is_dir() else "hidden files" for path in self.hidden)
        return dict(+kinds)

    def __str__(self) -> str:
        """What is not read, with three names; empty if all is."""
        if not self.not_read:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.not_read.items())
        names = [*self.others, *self.hidden]
        first = ", ".join(path.name for path in names[:3])
        return f"not read: {kinds} (first: {first})"


def find_audio(folder: Path) -> Found:
    """Searches a folder and its subfolders for audio files.

    Args:
        folder: The folder.

    Returns:
        What is there; a file with the suffix of audio that is no regular file, a folder that
        cannot be opened, or a link to a folder, which is not followed, is among the others.

    Example:
        >>> found = find_audio(Path("audio"))
        >>> len(found.clips), found.not_read
        (36, {})
    """
    clips: list[Path] = []
    others: list[Path] = []
    hidden: list[Path] = []

    def keep(error: OSError) -> None:
        others.append(Path(error.filename))

    for place, folders, files in os.walk(folder, onerror=keep):
        here = Path(place)
        hidden += [here / name for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        others += [here / name for name in folders if (here / name).is_symlink()]  # not followed
        for path in (here / name for name in files):
            is_audio = path.suffix.lower() in SUFFIXES and path.is_file()
            if not path.name.startswith("."):
                (clips if is_audio else others).append(path)
            elif is_audio:
                hidden.append(path)
    return Found(sorted(clips), sorted(others), sorted(hidden))
