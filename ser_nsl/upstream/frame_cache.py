"""Outputs of frozen convolutions, computed once instead of in every epoch."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.clip import read_batches
from ser_nsl.pipeline.bars import Bar

_DISK_SHARE = 0.5  # of the free space


class FrameCache:
    """Inputs of a training: waveforms, or frames in a file if it fits into half of the disk."""

    def __init__(
        self,
        paths: Sequence[Path],
        samples: int,
        compute: Callable[[np.ndarray], np.ndarray] | None,
        folder: Path,
        *,
        batch: int,
    ) -> None:
        """Computes all frames, if there are frozen convolutions and room for their outputs.

        Args:
            paths: Audio files.
            samples: Length of every clip.
            compute: Frozen convolutions, from float32 `(batch, samples)` to `(batch, frames,
                channels)`; None if the training takes waveforms.
            folder: Folder for the file.
            batch: Clips per step.

        Raises:
            InputError: As `read_audio`.
        """
        self._paths, self._samples, self._batch = paths, samples, batch
        self._compute = compute
        self._frames: Any = None
        if compute is None:
            return
        start = 0
        with Bar(total=len(paths), desc="frozen convolutions", unit="clip", leave=False) as bar:
            for waveforms in read_batches(paths, samples, batch=batch):
                frames = compute(waveforms)
                if start == 0:
                    needed = frames[0].nbytes * len(paths)
                    if needed > _DISK_SHARE * shutil.disk_usage(folder).free:
                        break
                    shape = (len(paths), *frames.shape[1:])
                    self._frames = np.memmap(folder / "frames", frames.dtype, "w+", shape=shape)
                self._frames[start : start + len(frames)] = frames
                start += len(frames)
                bar.update(len(frames))

    def batches(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Yields inputs of the chosen clips, in batches.

        Args:
            chosen: int, indices of clips.

        Yields:
            Frames, shape `(up to batch, frames, channels)`, or waveforms, float32, shape
            `(up to batch, samples)`.
        """
        if self._frames is None:
            waveforms = read_batches(
                [self._paths[i] for i in chosen], self._samples, batch=self._batch
            )
            yield from map(self._compute, waveforms) if self._compute else waveforms
        else:
            for start in range(0, len(chosen), self._batch):
                yield np.array(self._frames[chosen[start : start + self._batch]])
