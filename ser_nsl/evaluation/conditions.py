"""The conditions under which recognisers are tested, by name: exact and seeded, unlike training's.

The waveforms are those before a clip gets the recogniser's length, except that `zero-padded` keeps
the length and says by zeros where repetition would have gone on.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ser_nsl.audio import damage
from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length
from ser_nsl.errors import InputError

_PINK = -3.0  # dB per octave
_ROOM_DBFS = -60.0  # of the noise in a quiet room
_VOICES = 4

Condition = Callable[[np.ndarray, np.random.Generator, Sequence[np.ndarray]], np.ndarray]


def under(
    condition: str,
    waveform: np.ndarray,
    samples: int,
    *,
    seed: int | Sequence[int],
    voices: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Returns a clip as a recogniser hears it under a condition.

    Args:
        condition: One of `CONDITIONS`.
        waveform: float32, shape `(any number of samples,)`, at 16 kHz, within [-1, 1].
        samples: Length that the recogniser hears.
        seed: Seed of noise and babble; give each clip its own.
        voices: Other clips, for babble; without any, the clip itself, backwards.

    Returns:
        float32, shape `(samples,)`, within [-1, 1].

    Raises:
        InputError: If there is no such condition.

    Example:
        >>> clip = np.sin(np.arange(8_000) / 10).astype(np.float32) / 2
        >>> heard = under("-20 dB", clip, 16_000, seed=1)
        >>> heard.shape, round(float(abs(heard).max()), 3)
        ((16000,), 0.05)
    """
    if condition not in CONDITIONS:
        raise InputError(
            f"condition: must be one of {', '.join(CONDITIONS)}; received {condition!r}."
        )
    if condition == "zero-padded":
        return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))
    heard = CONDITIONS[condition](waveform, np.random.default_rng(seed), voices)
    return fit_length(np.clip(heard, -1, 1).astype(np.float32), samples)


def _changed(change: Callable[[np.ndarray], np.ndarray]) -> Condition:
    """A condition that draws nothing."""
    return lambda waveform, draw, voices: change(waveform)


def _gain(decibels: float) -> Condition:
    return _changed(lambda waveform: waveform * 10 ** (decibels / 20))


def _noise(tilt: float, snr_db: float) -> Condition:
    return lambda waveform, draw, voices: damage.add_noise(waveform, snr_db, tilt, draw)


def _babble(
    waveform: np.ndarray, draw: np.random.Generator, voices: Sequence[np.ndarray]
) -> np.ndarray:
    voices = voices or [waveform[::-1]]
    chosen = [voices[i] for i in draw.integers(len(voices), size=_VOICES)]
    return damage.add(waveform, damage.mixed(chosen, len(waveform), draw), 15)


def _at_8_khz(waveform: np.ndarray) -> np.ndarray:
    import soxr

    low = soxr.resample(waveform, SAMPLE_RATE_HZ, 8_000)
    return soxr.resample(low, 8_000, SAMPLE_RATE_HZ)


def _room_noise(samples: int, draw: np.random.Generator) -> np.ndarray:
    return 10 ** (_ROOM_DBFS / 20) * damage.colored(samples, _PINK, draw)


def _noisy_second_before(
    waveform: np.ndarray, draw: np.random.Generator, voices: Sequence[np.ndarray]
) -> np.ndarray:
    return np.concatenate([_room_noise(SAMPLE_RATE_HZ, draw), waveform])


def _phone(
    waveform: np.ndarray, draw: np.random.Generator, voices: Sequence[np.ndarray]
) -> np.ndarray:
    peak = max(float(np.abs(waveform).max()), 1e-6)
    return waveform * 10 ** (-12 / 20) / peak + _room_noise(len(waveform), draw)


_AS_RECORDED = _changed(lambda waveform: waveform)

CONDITIONS: dict[str, Condition] = {
    "as recorded": _AS_RECORDED,
    "-30 dB": _gain(-30),
    "-20 dB": _gain(-20),
    "-10 dB": _gain(-10),
    "+6 dB": _gain(6),
    "white noise, 20 dB": _noise(0.0, 20),
    "white noise, 10 dB": _noise(0.0, 10),
    "pink noise, 20 dB": _noise(_PINK, 20),
    "pink noise, 10 dB": _noise(_PINK, 10),
    "babble, 15 dB": _babble,
    "8 kHz": _changed(_at_8_khz),
    "mu-law": _changed(damage.through_mu_law),
    "Opus, 16 kbit/s": _changed(partial(damage.through_codec, codec="OPUS", kbit_per_second=16)),
    "MP3, 32 kbit/s": _changed(partial(damage.through_codec, codec="MP3", kbit_per_second=32)),
    "reverberation, 0.4 s": _changed(
        partial(damage.reverberated, seconds=0.4, number=damage.TEST_ROOM)
    ),
    "a second of silence before": _changed(lambda waveform: np.pad(waveform, (SAMPLE_RATE_HZ, 0))),
    "a second of room noise before": _noisy_second_before,
    "zero-padded": _AS_RECORDED,
    "peak -12 dBFS, room noise -60": _phone,
}
"""Functions from a clip, a random generator and other voices to what is heard, by name."""
