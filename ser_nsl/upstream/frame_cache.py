"""What frozen convolutions make of clips, computed once and not once an epoch."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ser_nsl.audio.clip import read_batches

_MEMORY_BYTES = 2 * 1024**3
_DISK_SHARE = 0.5  # of what is free


class FrameCache:
    """Frames of many clips: in memory up to 2 GB, else in a file that may fill half the disk."""

    def __init__(
        self,
        paths: Sequence[Path],
        samples: int,
        compute: Callable[[np.ndarray], np.ndarray],
        folder: Path,
        *,
        batch: int,
    ) -> None:
        """Computes everything, where there is room.

        Args:
            paths: The clips.
            samples: Length of every clip.
            compute: From float32 `(batch, samples)` to `(batch, frames, channels)`.
            folder: Where the file goes, if one is needed.
            batch: Clips a step.

        Raises:
            InputError: As `read_audio`.
        """
        self._paths, self._samples, self._batch = paths, samples, batch
        self._compute = compute
        self._frames = None
        start = 0
        with tqdm(total=len(paths), desc="frozen convolutions", unit="clip", leave=False) as bar:
            for waveforms in read_batches(paths, samples, batch=batch):
                frames = compute(waveforms)
                if start == 0:
                    self._frames = _make_room((len(paths), *frames.shape[1:]), frames.dtype, folder)
                if self._frames is None:
                    break
                self._frames[start : start + len(frames)] = frames
                start += len(frames)
                bar.update(len(frames))

    def batches(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Yields frames of some clips, in batches.

        Args:
            chosen: int, indices of clips.

        Yields:
            Shape `(up to batch, frames, channels)`.
        """
        if self._frames is None:
            paths = [self._paths[i] for i in chosen]
            yield from map(self._compute, read_batches(paths, self._samples, batch=self._batch))
        else:
            for start in range(0, len(chosen), self._batch):
                yield self._frames[chosen[start : start + self._batch]]


def _make_room(shape: tuple[int, ...], dtype: np.dtype, folder: Path) -> np.ndarray | None:
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= _MEMORY_BYTES:
        return np.empty(shape, dtype)
    if size <= _DISK_SHARE * shutil.disk_usage(folder).free:
        return np.memmap(folder / "frames", dtype, "w+", shape=shape)
    return None
