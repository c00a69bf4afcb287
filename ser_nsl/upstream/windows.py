"""Windows of unlabelled speech: for the teacher as recorded, for the student with damages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
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
    damage = _damages(config.damages)

    def batch(start: int) -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            _window(paths[i], config, damage, int(seeds[i])) for i in order[start : start + size]
        ]
        clean, damaged = zip(*pairs, strict=True)
        return np.stack(clean), np.stack(damaged)

    # One thread: the damages draw from Python's and NumPy's global random numbers.
    with ThreadPoolExecutor(1) as thread:
        starts = range(0, len(order) - size + 1, size)
        waiting = [thread.submit(batch, start) for start in starts[:_AHEAD]]
        for start in starts[_AHEAD:]:
            yield waiting.pop(0).result()
            waiting.append(thread.submit(batch, start))
        for each in waiting:
            yield each.result()


def _window(
    path: Path, config: DistillationConfig, damage: Callable[..., np.ndarray], seed: int
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
    random.seed(seed)
    np.random.seed(seed)
    return clean, damage(clean, sample_rate=SAMPLE_RATE_HZ)


def _damages(share: float) -> Callable[..., np.ndarray]:
    """Returns a function that adds noise, narrows the band, or codes as a telephone does."""
    import audiomentations
    import librosa

    def telephone(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        coded = librosa.mu_compress(np.clip(waveform, -1, 1), quantize=True)
        return librosa.mu_expand(coded, quantize=True).astype(np.float32)

    return audiomentations.Compose(
        [
            audiomentations.AddColorNoise(
                min_snr_db=5.0, max_snr_db=40.0, min_f_decay=-6.0, max_f_decay=0.0, p=share
            ),
            audiomentations.OneOf(
                [
                    audiomentations.LowPassFilter(
                        min_cutoff_freq=3_000, max_cutoff_freq=7_500, min_rolloff=24, max_rolloff=48
                    ),
                    audiomentations.BandPassFilter(
                        min_center_freq=1_000,
                        max_center_freq=1_800,
                        min_bandwidth_fraction=1.4,
                        max_bandwidth_fraction=1.9,
                    ),
                ],
                p=share,
            ),
            audiomentations.Lambda(telephone, p=share / 2),
        ]
    )
