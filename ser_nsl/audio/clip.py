"""One clip: decode, mono, 16 kHz, fixed length.

libsndfile decodes and soxr resamples, in training and on the device alike, so that a recogniser
gets the same samples in both places. `benchmarks/decoding.py` compares them with tensorflow-io.
"""

import functools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import soxr

from ser_nsl.audio.decode import decode
from ser_nsl.audio.samples import as_float
from ser_nsl.errors import InputError

SAMPLE_RATE_HZ = 16_000
"""Sample rate of wav2vec 2.0 and, by default, of the front end."""

SILENCE_PEAK = 1e-4
"""Audio with a lower peak is silent: -80 dB of full scale, about three steps of 16 bits.

In a corpus the peak is that above and below the middle: one value throughout is silence too.
"""

_INVERTED = 0.1  # of two channels: their mean has less than this part of the amplitude of either
# Left, right, centre, low frequencies and surround, as in ITU-R BS.775, with a sum of 1.
_SURROUND_GAINS = np.array([1, 1, 2**0.5, 0, 0.5**0.5, 0.5**0.5], np.float32) / (2 + 2 * 2**0.5)
_BATCHES_AHEAD = 3


def read_audio(path: Path, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Reads a clip as mono speech at one sample rate.

    Channels are mixed as by `to_mono`; the resampler is soxr at high quality, as in librosa.
    Nothing is allocated by what a header claims. Sizes that a recorder never wrote are taken from
    the file.

    Args:
        path: WAV, FLAC, OGG (Vorbis or Opus), MP3, AIFF, CAF or another file that libsndfile
            decodes; or M4A, MP4, WebM, 3GP, AMR, WMA and others where ffmpeg is on the PATH. Up
            to 32 channels, 1 kHz to 1 MHz, 4 GiB.
        sample_rate_hz: Sample rate of the result.

    Returns:
        float32, shape `(samples,)`, nominally in [-1, 1].

    Raises:
        InputError: If the file is missing, not audio, cut off or damaged as far as its structure
            shows, of zero length, silent (after mixing, no sample is more than 1e-4 above or below
            the middle), or holds samples that are NaN, infinite or above 10; if its two channels
            cancel each other out; if it needs ffmpeg, and there is none.

    Example:
        >>> waveform = read_audio(Path("audio/Actor_01/03-01-05-01-01-01-01.wav"))
        >>> waveform.dtype, waveform.ndim
        (dtype('float32'), 1)
        >>> 0.4 < abs(waveform).max() < 0.6
        True
    """
    samples, rate = decode(path)
    try:
        waveform = to_mono(as_float(samples), rate, sample_rate_hz=sample_rate_hz)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not waveform.size:
        raise InputError(f"{path}: holds no samples; replace or remove it.")
    if _is_silent(samples) or _is_silent(waveform):  # resampling gives a constant edges
        raise InputError(
            f"{path}: is silent (no sample is more than {SILENCE_PEAK} of full scale above or "
            "below the middle of them); replace or remove it."
        )
    return waveform


def _is_silent(samples: np.ndarray) -> bool:
    """Whether nothing is heard in any channel: one value throughout is no sound either."""
    return bool(np.ptp(samples, axis=0).max() < 2 * SILENCE_PEAK)


def to_mono(
    samples: np.ndarray, rate: float, *, sample_rate_hz: float = SAMPLE_RATE_HZ
) -> np.ndarray:
    """Mixes channels and resamples, as `librosa.load` does.

    Args:
        samples: float, shape `(samples, channels)` or `(samples,)`.
        rate: Sample rate of `samples` in Hz.
        sample_rate_hz: Sample rate of the result in Hz.

    Returns:
        float32, shape `(samples,)`.

    Raises:
        InputError: If there are two channels that cancel each other out.

    Example:
        >>> to_mono(np.array([[0.5, 0.1], [0.2, 0.4]]), 16_000)
        array([0.3, 0.3], dtype=float32)
        >>> to_mono(np.zeros(48_000), 48_000).shape
        (16000,)
    """
    mono = mix(samples)
    if samples.ndim == 2 and samples.shape[1] == 2:
        energy = np.einsum("ij,ij->j", samples, samples).max(initial=0)
        if np.dot(mono, mono) < _INVERTED**2 * energy:
            raise InputError(
                "samples: the two channels cancel each other out, as one is inverted; keep one "
                "of them."
            )
    resampled = soxr.resample(mono, rate, sample_rate_hz)
    # soxr rounds the number of samples, librosa rounds it up and appends zeros.
    missing = math.ceil(len(mono) * sample_rate_hz / rate) - len(resampled)
    return np.pad(resampled, (0, missing)).astype(np.float32, copy=False)


def mix(samples: np.ndarray) -> np.ndarray:
    """Mixes channels: their mean, or for 5.1 the levels of its loudspeakers.

    Args:
        samples: float, shape `(samples, channels)` or `(samples,)`. Six channels are 5.1 in the
            order of WAV: left, right, centre, low frequencies (left out), left and right surround.

    Returns:
        float, shape `(samples,)`.

    Example:
        >>> centre_and_low = np.array([[0, 0, 0.5, 0.9, 0, 0]])
        >>> mix(centre_and_low).round(3)
        array([0.146])
    """
    if samples.ndim == 1:
        return samples
    if samples.shape[1] == len(_SURROUND_GAINS):
        return samples @ _SURROUND_GAINS
    return samples.mean(axis=1)


def fit_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cuts a clip, or repeats it from its beginning, to a number of samples.

    Args:
        waveform: Shape `(any number of samples,)`, not empty.
        samples: Length of the result.

    Returns:
        Same dtype, shape `(samples,)`.

    Example:
        >>> fit_length(np.array([1.0, 2.0, 3.0]), 5)
        array([1., 2., 3., 1., 2.])
    """
    return np.resize(waveform, samples)


def read_clips(
    paths: Sequence[Path], *, ahead: int = 64, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[np.ndarray]:
    """Reads clips in threads, ahead of their use.

    Args:
        paths: Audio files.
        ahead: Number of clips to read ahead.
        sample_rate_hz: Sample rate of the result.

    Yields:
        float32, shape `(samples of the clip,)`, in the order of `paths`.

    Raises:
        InputError: As `read_audio`.
    """
    read = functools.partial(read_audio, sample_rate_hz=sample_rate_hz)
    with ThreadPoolExecutor() as pool:
        reading: deque[Future] = deque()
        for path in paths:
            reading.append(pool.submit(read, path))
            if len(reading) > ahead:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def read_batches(
    paths: Sequence[Path], samples: int, *, batch: int, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[np.ndarray]:
    """Reads clips of one length in batches, a few batches ahead of their use.

    Args:
        paths: Audio files.
        samples: Length of every clip; see `fit_length`.
        batch: Clips per batch; the last batch may have fewer.
        sample_rate_hz: Sample rate of the result.

    Yields:
        float32, shape `(up to batch, samples)`, in the order of `paths`.

    Raises:
        InputError: As `read_audio`, or if all that is left of a clip is silence.
    """
    clips = read_clips(paths, ahead=_BATCHES_AHEAD * batch, sample_rate_hz=sample_rate_hz)
    fitted = map(_fit, paths, clips, repeat(samples), repeat(sample_rate_hz))
    while chunk := list(islice(fitted, batch)):
        yield np.stack(chunk)


def _fit(path: Path, waveform: np.ndarray, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Brings a clip to a length; refuses one that is cut within the silence before its sound."""
    fitted = fit_length(waveform, samples)
    if _is_silent(fitted):
        raise InputError(
            f"{path}: is silent in its first {samples / sample_rate_hz:g} s, to which it would be "
            "cut; give a longer --clip-seconds, or take this silence away."
        )
    return fitted


def window_starts(length: int, samples: int) -> np.ndarray:
    """Returns where the fewest windows that cover a clip begin, at even distances.

    Args:
        length: Samples of the clip, at least `samples`.
        samples: Length of a window.

    Returns:
        int64, shape `(windows,)`, from 0 to `length - samples`.
    """
    windows = math.ceil(length / samples)
    return np.linspace(0, length - samples, windows).round().astype(np.int64)
