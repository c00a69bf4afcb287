"""What espeak-ng's voice lacks: irregular pitch and level, breath, spectral balance."""

import numpy as np

_TREMOR_HZ = 5.5
_ROUGHNESS_HZ = 60.0
_DB_PER_SEMITONE = 3.0  # how much the level varies with pitch


def waver(
    speech: np.ndarray,
    sample_rate_hz: int,
    tremor: float,
    roughness: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Makes pitch and level waver, by playing the speech at a slightly varying speed.

    Args:
        speech: float, shape `(samples,)`.
        sample_rate_hz: Its sampling rate.
        tremor: Amplitude of a slow sine, semitones.
        roughness: Standard deviation of a fast random movement, semitones.
        rng: Source of the random movement.

    Returns:
        float64, shape `(samples,)`.
    """
    from scipy.ndimage import map_coordinates

    time = np.arange(len(speech)) / sample_rate_hz
    knots = np.arange(0, time[-1] + 2 / _ROUGHNESS_HZ, 1 / _ROUGHNESS_HZ)
    slow = np.sin(2 * np.pi * (_TREMOR_HZ * time + rng.uniform()))
    fast = np.interp(time, knots, rng.normal(size=len(knots)))
    semitones = tremor * slow + roughness * fast
    positions = np.cumsum(2 ** (semitones / 12)) - 1
    played = map_coordinates(speech, [positions], order=3, mode="nearest", output=np.float64)
    return played * 10 ** (_DB_PER_SEMITONE * semitones / 20)


def add_breath(
    speech: np.ndarray, sample_rate_hz: int, level_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Adds noise that follows the loudness of the speech.

    Args:
        speech: float, shape `(samples,)`.
        sample_rate_hz: Its sampling rate.
        level_db: Level of the noise relative to the speech, dB.
        rng: Source of the noise.

    Returns:
        float64, shape `(samples,)`.
    """
    from scipy.ndimage import uniform_filter1d

    loudness = uniform_filter1d(np.abs(speech), sample_rate_hz // 50)
    # The difference of white noise rises by 6 dB per octave, as breath does.
    noise = np.diff(rng.normal(size=len(speech) + 1)) * loudness
    return speech + noise * (10 ** (level_db / 20) * rms(speech) / rms(noise))


def tilt_spectrum(speech: np.ndarray, sample_rate_hz: int, db_per_octave: float) -> np.ndarray:
    """Tilts the spectrum around 1 kHz, between 200 Hz and 4 kHz; beyond, the gain is constant.

    Args:
        speech: float, shape `(samples,)`.
        sample_rate_hz: Its sampling rate.
        db_per_octave: Slope; positive is brighter.

    Returns:
        float64, shape `(samples,)`.
    """
    hertz = np.clip(np.fft.rfftfreq(len(speech), 1 / sample_rate_hz), 200, 4000)
    gain = 10 ** (db_per_octave * np.log2(hertz / 1000) / 20)
    return np.fft.irfft(np.fft.rfft(speech) * gain, len(speech))


def rms(signal: np.ndarray) -> float:
    """Returns the root mean square of a signal."""
    return float(np.sqrt(np.mean(np.square(signal))))
