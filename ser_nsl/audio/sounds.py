"""Sounds that are not speech: silence, noise, hum, tones, knocks, music.

A recogniser learns from them to answer "no speech". They are made anew from their seed, so that no
recordings are needed; each kind differs from clip to clip as much as its kind does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.audio.damage import add, colored

_LEAST_SIGNIFICANT_BIT = 1 / 32_768
_SECOND_SOUND = 0.4  # share of sounds with another one in the background
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


def no_speech(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Draws a sound that is not speech, of any kind, often over another one.

    Args:
        samples: Length at 16 kHz, at least 1.
        draw: Random generator.

    Returns:
        float32, shape `(samples,)`, within [-1, 1]; its peak is -60 to 0 dB, or 0 for silence.

    Example:
        >>> sound = no_speech(16_000, np.random.default_rng(0))
        >>> sound.shape, bool(abs(sound).max() <= 1)
        ((16000,), True)
    """
    sound = _any(samples, draw)
    if draw.random() < _SECOND_SOUND:
        sound = add(sound, _any(samples, draw), draw.uniform(0, 30))
    peak = np.abs(sound).max()
    if peak < _LEAST_SIGNIFICANT_BIT:
        return sound.astype(np.float32)
    return (sound * 10 ** (draw.uniform(-60, 0) / 20) / peak).astype(np.float32)


def _any(samples: int, draw: np.random.Generator) -> np.ndarray:
    kinds = [*SOUNDS.values()]
    return kinds[draw.integers(len(kinds))](samples, draw)


def _silence(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Digital silence, or the last bit of a converter."""
    return draw.integers(0, 2) * draw.integers(-1, 2, samples) * _LEAST_SIGNIFICANT_BIT


def _noise(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Noise of any colour: rooms, fans, streets, and where its level wanders, wind and waves."""
    noise = colored(samples, draw.uniform(-9, 3), draw)
    if draw.random() < 0.5:
        return noise
    return noise * _wandering(samples, draw.uniform(0.1, 3), draw)


def _wandering(samples: int, hertz: float, draw: np.random.Generator) -> np.ndarray:
    """A level that changes at random, about so often a second, by up to 30 dB."""
    points = max(2, round(hertz * samples / SAMPLE_RATE_HZ) + 2)
    decibels = draw.uniform(-30, 0, points)
    return 10 ** (np.interp(np.linspace(0, points - 1, samples), np.arange(points), decibels) / 20)


def _hum(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Hum of mains, or a motor: many harmonics of a steady low tone."""
    lowest = draw.choice([50.0, 60.0, draw.uniform(20, 150)])
    decay = draw.uniform(0.3, 2)
    orders = np.arange(1, 25)
    levels = orders**-decay * draw.random(len(orders))
    time = np.arange(samples) / SAMPLE_RATE_HZ
    phases = 2 * np.pi * (lowest * np.outer(orders, time) + draw.random((len(orders), 1)))
    return levels @ np.sin(phases)


def _tones(samples: int, draw: np.random.Generator) -> np.ndarray:
    """One to three tones, steady, gliding or pulsing: test tones, beeps, dialling, alarms."""
    sound = np.zeros(samples)
    for _ in range(draw.integers(1, 4)):
        start, end = np.exp(draw.uniform(np.log(60), np.log(6_000), 2))
        hertz = np.full(samples, start)
        if draw.random() < 0.3:
            hertz = np.geomspace(start, end, samples)
        wave = _shape(np.cumsum(hertz) / SAMPLE_RATE_HZ, draw)
        if draw.random() < 0.4:
            beats = draw.uniform(0.5, 8) * np.arange(samples) / SAMPLE_RATE_HZ
            wave *= (beats + draw.random()) % 1 < draw.uniform(0.2, 0.8)
        sound += draw.uniform(0.2, 1) * wave
    return sound


def _shape(turns: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A sine, square or sawtooth wave at a phase in turns."""
    from scipy.signal import sawtooth, square

    phase = 2 * np.pi * turns
    return draw.choice([np.sin, square, sawtooth])(phase)


def _knocks(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Short sounds that die away: clicks, keys, steps, plates, drops; in time, or at random."""
    sound = np.zeros(samples)
    gap = SAMPLE_RATE_HZ / draw.uniform(0.5, 12)
    starts = np.arange(draw.uniform(0, gap), samples, gap)
    starts += draw.choice([0.0, 0.4 * gap]) * draw.standard_normal(len(starts))
    decay = SAMPLE_RATE_HZ * np.exp(draw.uniform(np.log(0.0003), np.log(0.15)))
    length = min(samples, round(6 * decay) + 1)
    time = np.arange(length)
    hertz = np.exp(draw.uniform(np.log(80), np.log(6_000), 3))
    ringing = np.sin(2 * np.pi * np.outer(hertz, time) / SAMPLE_RATE_HZ).sum(axis=0)
    noise = draw.uniform(0, 2) * draw.standard_normal(length)
    knock = (ringing + noise) * np.exp(-time / decay)
    for start in np.clip(starts, 0, samples - 1).astype(int):
        part = knock[: samples - start]
        sound[start : start + len(part)] += draw.uniform(0.3, 1) * part
    return sound


def _music(samples: int, draw: np.random.Generator) -> np.ndarray:
    """Chords and a melody of an invented instrument, with or without drums."""
    scale = np.array(_SCALES[draw.choice([*_SCALES])])
    key, beat = draw.uniform(40, 60), SAMPLE_RATE_HZ * 60 / draw.uniform(60, 180)
    timbre = np.arange(1, 13) ** -draw.uniform(0.5, 2.5) * draw.random(12)
    fade = SAMPLE_RATE_HZ * draw.uniform(0.1, 2)
    sound = np.zeros(samples)
    degree = int(draw.integers(0, 14))
    for start in np.arange(-draw.uniform(0, beat), samples, beat):
        degree = int(np.clip(degree + draw.integers(-3, 4), 0, 20))
        notes = [(degree, 1.0)]
        if draw.random() < 0.5:
            notes += [(root, 0.5) for root in draw.integers(0, 7) + np.array([0, 2, 4])]
        length = round(beat * draw.choice([0.5, 1, 2]))
        for each, level in notes:
            pitch = key + scale[each % 7] + 12 * (each // 7)
            sound += level * _note(samples, round(start), length, pitch, timbre, fade)
    if draw.random() < 0.5:
        sound = add(sound, _knocks(samples, draw), draw.uniform(-5, 15))
    return sound


def _note(
    samples: int, start: int, length: int, pitch: float, timbre: np.ndarray, fade: float
) -> np.ndarray:
    """One note, at its place among silence; `pitch` in semitones, as in MIDI."""
    import librosa

    note = np.zeros(samples)
    first = max(0, start)
    last = max(first, min(samples, start + length))
    time = np.arange(first, last) - start
    hertz = librosa.midi_to_hz(pitch) * np.arange(1, len(timbre) + 1)
    heard = hertz < SAMPLE_RATE_HZ / 2
    waves = np.sin(2 * np.pi * np.outer(hertz[heard], time) / SAMPLE_RATE_HZ)
    attack = np.minimum(1, time / (0.01 * SAMPLE_RATE_HZ))
    note[first:last] = (timbre[heard] @ waves) * attack * np.exp(-time / fade)
    return note


SOUNDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "silence": _silence,
    "noise": _noise,
    "hum": _hum,
    "tones": _tones,
    "knocks": _knocks,
    "music": _music,
}
"""Functions from a number of samples and a random generator to a sound, by kind."""
