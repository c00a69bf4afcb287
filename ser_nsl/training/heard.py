"""What a teacher and a light network hear in windows of speech, computed once before the epochs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.training.settings import TeachingConfig
from ser_nsl.upstream.encoder import Encoder, as_float16, pool
from ser_nsl.upstream.windows import window_batches


class Heard(NamedTuple):
    """What is heard in some windows.

    Attributes:
        logmel: By the network: log Mel of the damaged windows, float16, shape
            `(windows, frames, mels)`, in dB.
        parts: By the teacher, in the windows as recorded: means of its frames over equal parts of
            the time, float16, shape `(windows, parts, width)`.
        pooled: Mean and deviation of its frames over all of the time, float16, shape
            `(windows, 2 * width)`.
    """

    logmel: np.ndarray
    parts: np.ndarray
    pooled: np.ndarray


class HeardWindows:
    """What is heard in all windows of all clips, in files.

    Attributes:
        clips: Number of clips.
        first: What is heard in the first window of each clip.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        teacher: Encoder,
        parts: int,
        config: TeachingConfig,
        front_end: FrontEndConfig,
        folder: Path,
    ) -> None:
        """Listens to all windows; a stopped run goes on with the first one that is missing.

        Args:
            paths: Audio files.
            teacher: The large encoder.
            parts: Number of parts of a window.
            config: Windows, and layers of the teacher.
            front_end: Settings of log Mel.
            folder: Folder for the files.

        Raises:
            InputError: If the disk has too little room, or a clip cannot be read.
        """
        samples = round(config.window_seconds * SAMPLE_RATE_HZ)
        width = teacher.width * len(config.layers)
        frames = front_end.frames(samples)
        shapes = ((frames, front_end.mel_bins), (parts, width), (2 * width,))  # as in Heard
        folder.mkdir(exist_ok=True)
        turns = [folder / f"{turn}" for turn in range(config.windows)]
        left = [turn for turn in range(config.windows) if not turns[turn].exists()]
        needed = 2 * len(left) * len(paths) * sum(int(np.prod(shape)) for shape in shapes)
        if needed > shutil.disk_usage(folder).free:
            raise InputError(
                f"speech: {config.windows} windows of {len(paths)} clips need "
                f"{needed / 1e9:.1f} GB in {folder.parent}; make room, or choose fewer "
                "--config.windows."
            )

        @tf.function(autograph=False, reduce_retracing=True)
        def listen(clean: tf.Tensor, damaged: tf.Tensor) -> list[tf.Tensor]:
            frames = tf.concat(teacher.frames(clean, config.layers), axis=-1)
            heard = (
                log_mel(damaged, front_end),
                mean_parts(frames, parts),
                pool(frames, "statistics"),
            )
            return [as_float16(each) for each in heard]

        with Bar(desc="listening", total=len(left) * len(paths), unit="window") as bar:
            for turn in left:
                partial = folder / f"{turn}.partial"
                files = _open(partial, shapes, len(paths))
                for windows in window_batches(paths, config, turn, rest=True):
                    heard = listen(tf.constant(windows.clean), tf.constant(windows.damaged))
                    for file, values in zip(files, heard, strict=True):
                        file[windows.rows] = values
                    bar.update(len(windows.rows))
                partial.rename(turns[turn])
        self._turns = [_read(turn) for turn in turns]
        self.clips, self._config = len(paths), config
        self.first = self._turns[0]

    def batches(self, epoch: int) -> Iterator[Heard]:
        """Yields one window of each clip, in random order; the last clips fill no batch.

        Args:
            epoch: Number of the epoch, which decides the order, and with it the windows.

        Yields:
            What is heard in a batch of windows.
        """
        draw = np.random.default_rng([self._config.seed, epoch])
        order, size = draw.permutation(self.clips), self._config.batch_size
        turns = draw.integers(len(self._turns), size=self.clips)
        for start in range(0, self.clips - size + 1, size):
            rows = order[start : start + size]
            chosen = [
                [getattr(self._turns[turns[row]], name)[row] for row in rows]
                for name in Heard._fields
            ]
            yield Heard(*map(np.stack, chosen))


def mean_parts(frames: tf.Tensor, parts: int) -> tf.Tensor:
    """Computes means over equal parts of the time; a frame across an edge counts by its share.

    Args:
        frames: Shape `(batch, frames, width)`.
        parts: Number of parts.

    Returns:
        float32, shape `(batch, parts, width)`.

    Example:
        >>> mean_parts(tf.constant([[[1.0], [2.0], [6.0]]]), 2).numpy().ravel().round(3)
        array([1.333, 4.667], dtype=float32)
    """
    count = frames.shape[1]
    edges = np.arange(parts + 1)[:, np.newaxis] * count / parts
    ends = np.clip(edges - np.arange(count), 0, 1)  # of each frame, how much lies before an edge
    shares = np.diff(ends, axis=0) * parts / count
    return tf.einsum("pf,bfw->bpw", shares.astype(np.float32), tf.cast(frames, tf.float32))


def _open(folder: Path, shapes: Sequence[tuple[int, ...]], clips: int) -> Heard:
    """Makes the files of a turn."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Heard(
        *(
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (clips, *shape))
            for name, shape in zip(Heard._fields, shapes, strict=True)
        )
    )


def _read(folder: Path) -> Heard:
    return Heard(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Heard._fields))
