"""Windows of unlabelled speech: for the teacher as recorded, for the student with damages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.damage import DamageConfig, damaged
from ser_nsl.upstream.settings import DistillationConfig

_PEAK = 0.9  # of every window, so that the teacher hears all at one level
_AHEAD = 2  # batches


class Windows(NamedTuple):
    """Windows of some clips.

    Attributes:
        rows: Numbers of the clips, int64, shape `(batch,)`.
        clean: The windows as recorded, float32, shape `(batch, samples)`.
        damaged: The same with damages.
    """

    rows: np.ndarray
    clean: np.ndarray
    damaged: np.ndarray


def window_batches(
    paths: Sequence[Path], config: DistillationConfig, epoch: int
) -> Iterator[Windows]:
    """Reads one window of every clip, in random order, while the model computes.

    A clip has `config.windows` windows, which the epochs take in turn, each with other damages.

    Args:
        paths: Audio files.
        config: Length of windows, speeds and damages.
        epoch: Number of the epoch; the same one gives the same windows.

    Yields:
        Windows of a batch of clips. The last clips that fill no batch are left out.

    Raises:
        InputError: If a clip cannot be read.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(len(paths))
    share, size, turn = config.damages, config.batch_size, epoch % config.windows
    others = dict.fromkeys(vars(DamageConfig()), 0.0)  # they would shift what the teacher hears
    damages = DamageConfig(**others | {"noise": share, "band": share, "codec": share / 2})

    def batch(start: int) -> Windows:
        rows = order[start : start + size]
        clean = [_window(paths[row], config, [config.seed, row, turn]) for row in rows]
        heard = [
            damaged(window, [config.seed, row, epoch], damages)
            for row, window in zip(rows, clean, strict=True)
        ]
        return Windows(rows, np.stack(clean), np.stack(heard))

    with ThreadPoolExecutor(1) as thread:
        starts = range(0, len(order) - size + 1, size)
        waiting = [thread.submit(batch, start) for start in starts[:_AHEAD]]
        for start in starts[_AHEAD:]:
            yield waiting.pop(0).result()
            waiting.append(thread.submit(batch, start))
        for each in waiting:
            yield each.result()


def _window(path: Path, config: DistillationConfig, seed: Sequence[int]) -> np.ndarray:
    import soxr

    draw = np.random.default_rng(seed)
    samples = round(config.window_seconds * SAMPLE_RATE_HZ)
    speed = float(np.exp(draw.uniform(*np.log(config.speeds))))
    waveform = read_audio(path)
    taken = round(samples * speed)
    start = int(draw.integers(max(1, len(waveform) - taken + 1)))
    waveform = waveform[start : start + taken]
    waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="LQ")
    window = fit_length(waveform, samples)
    window *= _PEAK / max(float(np.abs(window).max()), 1e-6)
    return window
