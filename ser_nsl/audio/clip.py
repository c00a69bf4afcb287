"""One clip: decode, mono, 16 kHz, fixed length.

libsndfile decodes and soxr resamples, in training and on the device alike, so that a recogniser
gets the same samples in both places. `benchmarks/decoding.py` compares them with tensorflow-io.
"""

import functools
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ser_nsl.errors import InputError

SAMPLE_RATE_HZ = 16_000
"""Sample rate of wav2vec 2.0 and, by default, of the front end."""

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""Suffixes of the audio files that can be read."""

SILENCE_PEAK = 1e-4
"""Audio with a lower peak is silent: -80 dB of full scale, about three steps of 16 bits."""

_LAST_OGG_PAGE_BYTES = 70_000  # an Ogg page has at most 65,307 bytes
_OGG_HEADER_BYTES = 27  # the last of them is the number of segments
_BATCHES_AHEAD = 3


def read_audio(path: Path, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Reads a clip as mono speech at one sample rate.

    Channels are averaged; the resampler is soxr at high quality, as in librosa.

    Args:
        path: WAV, FLAC, OGG (Vorbis or Opus) or MP3 file of any rate and number of channels.
        sample_rate_hz: Sample rate of the result.

    Returns:
        float32, shape `(samples,)`, nominally in [-1, 1].

    Raises:
        InputError: If the file is missing, not audio, cut off (in MP3 only where the file states
            its length), of zero length, silent (peak below 1e-4 after mixing), or holds NaN or
            infinite samples.

    Example:
        >>> waveform = read_audio(Path("audio/Actor_01/03-01-05-01-01-01-01.wav"))
        >>> waveform.dtype, waveform.ndim
        (dtype('float32'), 1)
        >>> 0.4 < abs(waveform).max() < 0.6
        True
    """
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be UTF-8
            announced, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        if not Path(path).exists():
            raise InputError(f"{path}: does not exist; check the path.") from error
        # The message of libsndfile, without the name in bytes that soundfile puts before it.
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise InputError(
            f"{path}: cannot be decoded ({reason}); the file must be WAV, FLAC, OGG or MP3. "
            "Replace or remove it."
        ) from error
    if len(samples) < announced or _is_cut_off(Path(path)):
        raise InputError(f"{path}: is cut off in the middle; copy it again or remove it.")
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: holds NaN or infinite samples; replace or remove it.")
    waveform = to_mono(samples, rate, sample_rate_hz=sample_rate_hz)
    if not waveform.size:
        raise InputError(f"{path}: holds no samples; replace or remove it.")
    if np.abs(waveform).max() < SILENCE_PEAK:
        raise InputError(
            f"{path}: is silent (its peak is below {SILENCE_PEAK} of full scale); replace or "
            "remove it."
        )
    return waveform


def to_mono(
    samples: np.ndarray, rate: float, *, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> np.ndarray:
    """Averages channels and resamples, as `librosa.load` does.

    Args:
        samples: float, shape `(samples, channels)` or `(samples,)`.
        rate: Sample rate of `samples` in Hz.
        sample_rate_hz: Sample rate of the result in Hz.

    Returns:
        float32, shape `(samples,)`.

    Example:
        >>> to_mono(np.array([[0.5, 0.1], [0.2, 0.4]]), 16_000)
        array([0.3, 0.3], dtype=float32)
        >>> to_mono(np.zeros(48_000), 48_000).shape
        (16000,)
    """
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    resampled = soxr.resample(mono, rate, sample_rate_hz)
    # soxr rounds the number of samples, librosa rounds it up and appends zeros.
    missing = math.ceil(len(mono) * sample_rate_hz / rate) - len(resampled)
    return np.pad(resampled, (0, missing)).astype(np.float32, copy=False)


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


def _is_cut_off(path: Path) -> bool:
    """Returns whether a container announces more than the file holds.

    libsndfile reads such WAV and OGG files without complaint.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] == b"RIFF":
            announced = int.from_bytes(head[4:8], "little")
            # Writers that cannot seek leave 0 or the largest number.
            return announced not in (0, 0xFFFFFFFF) and announced + 8 > size + 1
        if head[:4] == b"OggS":
            file.seek(max(0, size - _LAST_OGG_PAGE_BYTES))
            return not _ends_ogg_stream(file.read())
    return False


def _ends_ogg_stream(tail: bytes) -> bool:
    """Returns whether the last Ogg page ends the stream and is whole (RFC 3533, section 6)."""
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _OGG_HEADER_BYTES:
        return False
    segments = page[_OGG_HEADER_BYTES - 1]
    body = sum(page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + segments])
    return bool(page[5] & 4) and len(page) >= _OGG_HEADER_BYTES + segments + body


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
        InputError: As `read_audio`.
    """
    clips = read_clips(paths, ahead=_BATCHES_AHEAD * batch, sample_rate_hz=sample_rate_hz)
    while chunk := [fit_length(clip, samples) for clip in islice(clips, batch)]:
        yield np.stack(chunk)


def cut_windows(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Covers a clip with the fewest windows of one length, at even distances.

    Args:
        waveform: Shape `(any number of samples,)`, not empty.
        samples: Length of a window; a shorter clip is repeated from its beginning.

    Returns:
        Same dtype, shape `(windows, samples)`; the last window ends where the clip ends.

    Example:
        >>> cut_windows(np.arange(10), 4)
        array([[0, 1, 2, 3],
               [3, 4, 5, 6],
               [6, 7, 8, 9]])
    """
    waveform = fit_length(waveform, max(samples, len(waveform)))
    starts = window_starts(len(waveform), samples)
    return np.lib.stride_tricks.sliding_window_view(waveform, samples)[starts]


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
