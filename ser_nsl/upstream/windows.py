"""Windows of unlabelled speech: for the teacher as recorded, for the student with damages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.damage import DamageConfig, damaged
from ser_nsl.upstream.settings import DistillationConfig

_PEAK = 0.9  # of every window, so that the teacher hears all at one level
_AHEAD = 2  # batches


def window_batches(
    paths: Sequence[Path], config: DistillationConfig, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads one window of every clip, in random order, while the model computes.

    Args:
        paths: Audio files.
        config: Length of windows, speeds and damages.
        epoch: Number of the epoch; the same one gives the same windows.

    Yields:
        Windows as recorded, and the same with damages: float32, shape `(batch, samples)`. The last
        clips that fill no batch are left out.

    Raises:
        InputError: If a clip cannot be read.
    """
    draw = np.random.default_rng([config.seed, epoch])
    order, size = draw.permutation(len(paths)), config.batch_size
    seeds = draw.integers(2**31, size=len(paths))
    share = config.damages
    others = dict.fromkeys(vars(DamageConfig()), 0.0)  # they would shift what the teacher hears
    damages = DamageConfig(**others | {"noise": share, "band": share, "codec": share / 2})

    def batch(start: int) -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            _window(paths[i], config, damages, int(seeds[i])) for i in order[start : start + size]
        ]
        clean, damaged = zip(*pairs, strict=True)
        return np.stack(clean), np.stack(damaged)

    with ThreadPoolExecutor(1) as thread:
        starts = range(0, len(order) - size + 1, size)
        waiting = [thread.submit(batch, start) for start in starts[:_AHEAD]]
        for start in starts[_AHEAD:]:
            yield waiting.pop(0).result()
            waiting.append(thread.submit(batch, start))
        for each in waiting:
            yield each.result()


def _window(
    path: Path, config: DistillationConfig, damages: DamageConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    import soxr

    draw = np.random.default_rng(seed)
    samples = round(config.window_seconds * SAMPLE_RATE_HZ)
    speed = float(np.exp(draw.uniform(*np.log(config.speeds))))
    waveform = read_audio(path)
    taken = round(samples * speed)
    start = int(draw.integers(max(1, len(waveform) - taken + 1)))
    waveform = waveform[start : start + taken]
    waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="LQ")
    clean = fit_length(waveform, samples)
    clean *= _PEAK / max(float(np.abs(clean).max()), 1e-6)
    return clean, damaged(clean, seed, damages)
