"""What the teacher hears in each window, computed once instead of in every epoch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar
from ser_nsl.upstream.windows import Windows

if TYPE_CHECKING:
    from ser_nsl.upstream.student import Lesson

_DISK_SHARE = 0.5  # of the free space


class TeacherFrames:
    """The teacher's frames of the windows that epochs take in turn, in a file if it has room.

    The first batch that holds a window asks the teacher, and later ones read what it heard: for
    Whisper's three layers a third of the time of a step. A file that was left by a stopped run is
    read on.
    """

    def __init__(self, lesson: Lesson, clips: int, folder: Path) -> None:
        """Opens the file, or does without if it needs more than half of the free disk.

        Args:
            lesson: The lesson, whose teacher is asked.
            clips: Number of clips.
            folder: Folder for the file.
        """
        self._lesson, self._count = lesson, lesson.config.windows
        shape = (self._count, clips, *lesson.target_shape)
        path, needed = folder / "teacher_frames.npy", 2 * int(np.prod(shape, dtype=np.int64))
        self._stored = None
        if path.exists():
            self._stored = np.lib.format.open_memmap(path, "r+")
        elif needed <= _DISK_SHARE * shutil.disk_usage(folder).free:
            self._stored = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        else:
            Bar.write(f"the teacher's frames ({needed / 1e9:.1f} GB) are computed in every epoch")

    def of(self, windows: Windows, epoch: int) -> tf.Tensor:
        """Returns the teacher's frames.

        Args:
            windows: Windows of the epoch.
            epoch: Number of the epoch.

        Returns:
            float16, shape `(batch, frames, width of the layers side by side)`.
        """
        turn, rows = epoch % self._count, windows.rows
        if self._stored is not None:
            known = self._stored[turn, rows]
            # A new file holds zeros; an epoch leaves out the clips that fill no batch.
            if known[:, 0].any(axis=-1).all():
                return tf.constant(known)
        frames = self._lesson.targets(tf.constant(windows.clean))
        if self._stored is not None:
            self._stored[turn, rows] = frames
        return frames
