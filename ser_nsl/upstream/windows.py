"""Windows of unlabelled speech: for the teacher as recorded, for the student with damages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.damage import damaged
from ser_nsl.audio.folders import find_audio
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.settings import LessonConfig

_PEAK = 0.9  # of every window, so that the teacher hears all at one level
_AHEAD = 2  # batches
_HELD_OUT = 0.02  # share of the clips
_CHECKED = 16  # batches at most


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


def find_speech(speech: Sequence[Path]) -> list[Path]:
    """Finds the clips to learn from.

    Args:
        speech: Folders, of which every clip is used, and manifests, of which the clips of the
            training split are used.

    Returns:
        Paths of audio files.

    Raises:
        InputError: If there is none, or one of the places has none.
    """
    paths: list[Path] = []
    for place in speech:
        if place.is_dir():
            found = find_audio(place).clips
        else:
            table = read_manifest(place)
            found = audio_paths(table[table["split"] == "train"], place, None)
        if not found:
            raise InputError(f"speech: {place} holds no clip to learn from.")
        paths += found
    if not paths:
        raise InputError("speech: give one folder or manifest, or more.")
    return paths


def keep_for_checking(paths: Sequence[Path], config: LessonConfig) -> tuple[list[Path], list[Path]]:
    """Divides clips into those that teach and whole batches that are kept for checking.

    Args:
        paths: Audio files.
        config: Batch size and seed.

    Returns:
        About 98 % of the clips, and the others.

    Raises:
        InputError: If there are fewer than two batches.
    """
    size = config.batch_size
    kept = size * min(max(1, round(_HELD_OUT * len(paths)) // size), _CHECKED)
    order = np.random.default_rng(config.seed).permutation(len(paths))
    checked, trained = ([paths[i] for i in part] for part in (order[:kept], order[kept:]))
    if len(trained) < size:
        raise InputError(
            f"speech: must hold at least {2 * size} clips, a batch to learn from and one to check; "
            f"received {len(paths)}. Give more speech, or choose a smaller --config.batch-size."
        )
    return trained, checked


def window_batches(
    paths: Sequence[Path], config: LessonConfig, epoch: int, *, rest: bool = False
) -> Iterator[Windows]:
    """Reads one window of every clip, in random order, while the model computes.

    A clip has `config.windows` windows, which the epochs take in turn, each with other damages.

    Args:
        paths: Audio files.
        config: Length of windows, speeds and damages.
        epoch: Number of the epoch; the same one gives the same windows.
        rest: Whether the last clips, which fill no batch, come too.

    Yields:
        Windows of a batch of clips.

    Raises:
        InputError: If a clip cannot be read.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(len(paths))
    size, turn = config.batch_size, epoch % config.windows

    def batch(start: int) -> Windows:
        rows = order[start : start + size]
        clean = [_window(paths[row], config, [config.seed, row, turn]) for row in rows]
        heard = [
            damaged(window, [config.seed, row, epoch], config.damages)
            for row, window in zip(rows, clean, strict=True)
        ]
        return Windows(rows, np.stack(clean), np.stack(heard))

    with ThreadPoolExecutor(1) as thread:
        starts = range(0, len(order) if rest else len(order) - size + 1, size)
        waiting = [thread.submit(batch, start) for start in starts[:_AHEAD]]
        for start in starts[_AHEAD:]:
            yield waiting.pop(0).result()
            waiting.append(thread.submit(batch, start))
        for each in waiting:
            yield each.result()


def _window(path: Path, config: LessonConfig, seed: Sequence[int]) -> np.ndarray:
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
