"""What happens to speech on its way to a recogniser: rooms, noise, narrow bands, codecs, gains.

Each kind of damage is a function of a waveform at 16 kHz, exact where its numbers are given;
`damaged` draws which ones a clip gets, and how much.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length
from ser_nsl.pipeline.settings import check

_LOWEST_HZ = 20.0  # the tilt of noise ends here
_ROOMS = 64
TEST_ROOM = _ROOMS
"""Number of a room that training never hears."""

_LEAST_PEAK = 10 ** (-60 / 20)  # a damaged clip is never silent
# Quality of libsndfile's encoders at these rates, for mono at 16 kHz, in the order of kbit/s.
_QUALITIES = {"OPUS": ((12, 24), (0.987, 0.936)), "MP3": ((24, 64), (0.905, 0.64))}


@dataclass(frozen=True)
class DamageConfig:
    """How often clips are damaged in which way; each kind is drawn for itself.

    Attributes:
        speed: Share of clips that are played 0.9 to 1.1 times as fast, at another pitch too.
        room: Share in a room with a reverberation time of 0.1 to 0.8 s.
        silence: Share with 0 to 1.5 s of silence before and after, digital or of a room.
        babble: Share with one to four voices, those of the clip itself, backwards and from other
            places, 5 to 30 dB below the speech.
        noise: Share with white to brown noise, 5 to 40 dB below the speech.
        band: Share with a narrow band: a telephone's, or up to 3 to 7.5 kHz.
        gain: Share with a gain of -40 to +6 dB, clipped at full scale.
        codec: Share through a codec: mostly mu-law, else Opus or MP3.

    Raises:
        ValueError: If a share is not 0 to 1.

    Example:
        >>> DamageConfig(noise=0).noise
        0
    """

    speed: float = 0.3
    room: float = 0.3
    silence: float = 0.3
    babble: float = 0.2
    noise: float = 0.5
    band: float = 0.2
    gain: float = 0.5
    codec: float = 0.2

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            check(0 <= share <= 1, name, "0 to 1", share)


def damaged(
    waveform: np.ndarray,
    seed: int | Sequence[int],
    config: DamageConfig = DamageConfig(),  # noqa: B008 (frozen)
) -> np.ndarray:
    """Damages a clip at random, in the order in which it happens: voice, room, microphone, line.

    Args:
        waveform: float32, shape `(samples,)`, at 16 kHz.
        seed: Seed of all that is drawn.
        config: Shares of clips by kind.

    Returns:
        float32, shape `(samples,)`, within [-1, 1]; longer where silence was added, and
        otherwise by up to a ninth longer or shorter.

    Example:
        >>> clip = np.sin(np.arange(16_000) / 10).astype(np.float32)
        >>> damaged(clip, seed=1, config=DamageConfig(speed=0, silence=0)).shape
        (16000,)
    """
    draw = np.random.default_rng(seed)
    hits = {name: draw.random() < share for name, share in vars(config).items()}
    if hits["speed"]:
        waveform = at_speed(waveform, draw.uniform(0.9, 1.1))
    if hits["room"]:
        waveform = in_room(waveform, int(draw.integers(_ROOMS)))
    if hits["silence"]:
        before, after = draw.integers(round(1.5 * SAMPLE_RATE_HZ), size=2)
        waveform = np.pad(waveform, (before, after))
        if draw.random() < 0.5:
            waveform = add_noise(waveform, draw.uniform(35, 60), draw.uniform(-6, 0), draw)
    if hits["babble"]:
        babble = mixed([waveform[::-1]] * int(draw.integers(1, 5)), len(waveform), draw)
        waveform = add(waveform, babble, draw.uniform(5, 30))
    if hits["noise"]:
        waveform = add_noise(waveform, draw.uniform(5, 40), draw.uniform(-6, 0), draw)
    if hits["band"]:
        telephone = draw.random() < 0.5
        waveform = within(waveform, *((300, 3_400) if telephone else (0, draw.uniform(3e3, 7.5e3))))
    if hits["gain"]:
        peak = max(float(np.abs(waveform).max()), 1e-6)
        waveform = waveform * max(10 ** (draw.uniform(-40, 6) / 20), _LEAST_PEAK / peak)
    waveform = np.clip(waveform, -1, 1).astype(np.float32)
    if hits["codec"]:
        kind = draw.choice(("mu-law", "OPUS", "MP3"), p=(0.7, 0.15, 0.15))
        if kind == "mu-law":
            return through_mu_law(waveform)
        waveform = through_codec(waveform, kind, draw.uniform(*_QUALITIES[kind][0]))
    return waveform


def damaged_to_length(
    waveform: np.ndarray,
    samples: int,
    seed: int | Sequence[int],
    config: DamageConfig = DamageConfig(),  # noqa: B008 (frozen)
) -> np.ndarray:
    """Damages a clip and brings it to a length, half the time by silence after it.

    Args:
        waveform: float32, shape `(any number of samples,)`, at 16 kHz.
        samples: Length of the result.
        seed: Seed of all that is drawn.
        config: Shares of clips by kind.

    Returns:
        float32, shape `(samples,)`: a random part of a longer clip; a shorter one is repeated, or
        followed by zeros.
    """
    draw = np.random.default_rng(seed)
    start, pads = draw.random(2)
    clip = damaged(waveform, int(draw.integers(2**32)), config)
    first = round(start * max(0, len(clip) - samples))
    if pads < 0.5:
        clip = np.pad(clip, (0, max(0, samples - len(clip))))
    return fit_length(clip[first:], samples)


def at_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """Plays a clip faster or slower, which changes its pitch too."""
    import soxr

    return soxr.resample(waveform, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="LQ")


def in_room(waveform: np.ndarray, number: int) -> np.ndarray:
    """Adds the reverberation of one of 64 rooms, 0.1 to 0.8 s long."""
    draw = np.random.default_rng(number)
    return reverberated(waveform, float(draw.uniform(0.1, 0.8)), number)


def reverberated(waveform: np.ndarray, seconds: float, number: int = 0) -> np.ndarray:
    """Adds the reverberation of a room, without its delay.

    Args:
        waveform: float32, shape `(samples,)`.
        seconds: Time in which the reverberation falls by 60 dB.
        number: Number of the room, which decides its size and who stands where.

    Returns:
        float32, same shape, at the same power.
    """
    from scipy.signal import fftconvolve

    response = _response(seconds, number)
    start = int(np.abs(response).argmax())
    heard = fftconvolve(waveform, response)[start:][: len(waveform)]
    return (heard * np.sqrt(_power(waveform) / max(_power(heard), 1e-20))).astype(np.float32)


@functools.lru_cache(maxsize=2 * _ROOMS)
def _response(seconds: float, number: int) -> np.ndarray:
    """Returns the response of a shoebox room, by image sources."""
    import pyroomacoustics

    draw = np.random.default_rng(number)
    size = draw.uniform((3, 3, 2.4), (6, 5, 3))
    volume = size.prod()
    surface = 2 * (volume / size).sum()
    shortest = 1.05 * 0.161 * volume / surface  # walls cannot absorb more than all
    absorption, order = pyroomacoustics.inverse_sabine(max(seconds, shortest), size)
    room = pyroomacoustics.ShoeBox(
        size,
        fs=SAMPLE_RATE_HZ,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, 30),
    )
    room.add_source(draw.uniform(0.5, size - 0.5))
    room.add_microphone(draw.uniform(0.5, size - 0.5))
    room.compute_rir()
    return np.asarray(room.rir[0][0], np.float32)


def mixed(clips: Sequence[np.ndarray], samples: int, draw: np.random.Generator) -> np.ndarray:
    """Mixes clips at equal power, each from a place of its own and repeated to one length."""
    parts = [np.resize(np.roll(clip, draw.integers(len(clip))), samples) for clip in clips]
    return np.sum([part / np.sqrt(max(_power(part), 1e-20)) for part in parts], axis=0)


def add_noise(
    waveform: np.ndarray, snr_db: float, decibels_per_octave: float, draw: np.random.Generator
) -> np.ndarray:
    """Adds noise: white at 0 dB per octave, pink at -3, brown at -6."""
    return add(waveform, colored(len(waveform), decibels_per_octave, draw), snr_db)


def colored(samples: int, decibels_per_octave: float, draw: np.random.Generator) -> np.ndarray:
    """Draws noise with a tilted spectrum, of power 1."""
    import scipy.fft

    fast = scipy.fft.next_fast_len(samples, real=True)
    spectrum = scipy.fft.rfft(draw.standard_normal(fast, np.float32))
    hertz = np.maximum(scipy.fft.rfftfreq(fast, 1 / SAMPLE_RATE_HZ), _LOWEST_HZ)
    spectrum *= (hertz / 1_000) ** (decibels_per_octave / (20 * np.log10(2)))
    noise = scipy.fft.irfft(spectrum, fast)[:samples]
    return noise / np.sqrt(_power(noise))


def add(waveform: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds another sound, its power by so much below the clip's."""
    scale = np.sqrt(_power(waveform) / max(_power(other), 1e-20)) * 10 ** (-snr_db / 20)
    return (waveform + scale * other).astype(np.float32)


def _power(waveform: np.ndarray) -> float:
    return float(np.mean(np.square(waveform), dtype=np.float64))


def within(waveform: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Keeps a band, by Butterworth's filter of order 8; from 0 Hz, all below `high_hz`."""
    from scipy.signal import butter, sosfilt

    kind, edges = ("bandpass", (low_hz, high_hz)) if low_hz else ("lowpass", high_hz)
    filtered = sosfilt(butter(8, edges, kind, fs=SAMPLE_RATE_HZ, output="sos"), waveform)
    return filtered.astype(np.float32)


def through_mu_law(waveform: np.ndarray) -> np.ndarray:
    """Codes samples in 8 bits, as telephones do."""
    import librosa

    coded = librosa.mu_compress(np.clip(waveform, -1, 1), quantize=True)
    return librosa.mu_expand(coded, quantize=True).astype(np.float32)


def through_codec(
    waveform: np.ndarray, codec: Literal["OPUS", "MP3"], kbit_per_second: float
) -> np.ndarray:
    """Codes and decodes a clip with libsndfile, without the codec's delay.

    Args:
        waveform: float32, shape `(samples,)`, at 16 kHz, within [-1, 1].
        codec: `OPUS` or `MP3`.
        kbit_per_second: 12 to 24 for Opus, 24 to 64 for MP3, to which libsndfile comes close.

    Returns:
        float32, same shape, within [-1, 1].
    """
    import soundfile

    quality = float(np.interp(kbit_per_second, *_QUALITIES[codec]))
    kind = {"OPUS": ("OGG", "OPUS", None), "MP3": ("MP3", "MPEG_LAYER_III", "CONSTANT")}[codec]
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        SAMPLE_RATE_HZ,
        channels=1,
        format=kind[0],
        subtype=kind[1],
        compression_level=quality,
        bitrate_mode=kind[2],
    ) as encoder:
        encoder.write(waveform)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    # MP3 at low rates lacks the header that tells the delay.
    delay = 1_105 if len(decoded) > len(waveform) else 0
    return np.clip(np.resize(decoded[delay:], len(waveform)), -1, 1)
