"""Altered copies of training clips: other speeds and pitches, other microphones, noise.

They are written once, before fine-tuning. (`ser_nsl.training.augment` alters log Mel again in each
step, for the light networks.)
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy import fft

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_audio
from ser_nsl.pipeline.bars import Bar

_SPEEDS = (0.85, 1.15)
_TILTS_DB_PER_OCTAVE = (-3.0, 3.0)
_NOISE_TILTS_DB_PER_OCTAVE = (-6.0, 0.0)
_SNRS_DB = (10.0, 40.0)
_LOWEST_HZ = 100.0  # the tilt is constant below
_PIVOT_HZ = 1_000.0


def alter(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Alters a clip without changing its emotion.

    Speed and with it pitch change by up to 15 %, the spectrum is tilted by up to 3 dB per octave,
    and noise between white and brown is added at 10 to 40 dB below the speech. The level stays,
    since it makes no difference once clips are standardised.

    Args:
        waveform: float32, shape `(samples,)` at 16 kHz.
        random: Source of the random numbers.

    Returns:
        float32, shape `(about samples / speed,)`.
    """
    speed = random.uniform(*_SPEEDS)
    altered = soxr.resample(waveform, speed * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    altered = _tilt(altered, random.uniform(*_TILTS_DB_PER_OCTAVE))
    noise = random.standard_normal(len(altered), dtype=np.float32)
    noise = _tilt(noise, random.uniform(*_NOISE_TILTS_DB_PER_OCTAVE))
    ratio = 10 ** (-random.uniform(*_SNRS_DB) / 20)
    return altered + noise * np.float32(ratio * _rms(altered) / _rms(noise))


def write_copies(
    paths: Sequence[Path], ids: Sequence[str], folder: Path, *, copies: int, seed: int
) -> list[Path]:
    """Writes altered copies of clips; seed, id and number of a copy decide what it is.

    Copies that exist already are left as they are.

    Args:
        paths: Audio files.
        ids: Ids of the clips.
        folder: Folder for WAV files of float32 at 16 kHz.
        copies: Copies per clip.
        seed: Seed, 0 or more.

    Returns:
        `copies * len(paths)` paths: the first copies of all clips, then the second ones, ...

    Raises:
        InputError: If a clip cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(work: tuple[int, Path, str]) -> Path:
        number, path, name = work
        digest = hashlib.blake2b(name.encode(), digest_size=16)
        copy = folder / f"{digest.hexdigest()}-{number}.wav"
        if not copy.exists():
            random = np.random.default_rng([seed, number, *digest.digest()])
            partial = copy.with_suffix(".partial.wav")
            soundfile.write(partial, alter(read_audio(path), random), SAMPLE_RATE_HZ, "FLOAT")
            partial.replace(copy)
        return copy

    work = [(number, *clip) for number in range(copies) for clip in zip(paths, ids, strict=True)]
    with ThreadPoolExecutor() as pool:
        made = pool.map(write, work)
        return list(
            Bar(made, "altered copies", len(work), leave=False, unit="clip", disable=not work)
        )


def _tilt(waveform: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Makes high frequencies louder or softer than low ones."""
    size = fft.next_fast_len(len(waveform), real=True)
    hertz = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), _LOWEST_HZ)
    gain = (hertz / _PIVOT_HZ) ** (db_per_octave / (20 * np.log10(2)))
    spectrum = fft.rfft(waveform, size) * gain.astype(np.float32)
    return fft.irfft(spectrum, size)[: len(waveform)]


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform))))
