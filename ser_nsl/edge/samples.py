"""What counts as audio: types, shapes, values and rates that a recogniser takes."""

from numbers import Real

import numpy as np

from ser_nsl.errors import InputError

_RATES_HZ = (1_000, 1_000_000)  # outside lie numbers that were meant as kHz, and no speech
_MOST_CHANNELS = 32  # more are samples: the array is transposed
_LOUDEST = 10.0  # 20 dB above full scale: no speech, but integers that were not scaled


def check_rate(sample_rate_hz: float) -> None:
    """Checks a sample rate.

    Args:
        sample_rate_hz: From 1,000 to 1,000,000.

    Raises:
        InputError: If it lies outside, or is no number.
    """
    lowest, highest = _RATES_HZ
    if not isinstance(sample_rate_hz, Real) or not lowest <= sample_rate_hz <= highest:
        raise InputError(
            f"sample_rate_hz: must be a number in Hz, from {lowest} to {highest}; received "
            f"{sample_rate_hz!r}."
        )


def as_float(samples: np.ndarray) -> np.ndarray:
    """Checks samples, and brings int16 to [-1, 1].

    Args:
        samples: Shape `(samples,)` or `(samples, channels)`, of any length, with up to 32
            channels; float in [-1, 1], or int16, which is divided by 32768.

    Returns:
        float32, same shape.

    Raises:
        InputError: If `samples` has another shape or type, holds NaN or infinite values, or peaks
            above 10.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 1 <= samples.shape[1] <= _MOST_CHANNELS
    ):
        raise InputError(
            "samples: must have shape (samples,) or (samples, channels), with 1 to "
            f"{_MOST_CHANNELS} channels; received {samples.shape}."
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if samples.dtype.kind != "f":
        raise InputError(
            f"samples: must be float in [-1, 1] or int16; received {samples.dtype}. Divide by "
            "the full scale of that type."
        )
    if samples.size:
        _check_values(samples)
    return samples.astype(np.float32, copy=False)


def _check_values(samples: np.ndarray) -> None:
    # Minimum and maximum are NaN where one sample is, and need no copy of an hour of audio.
    peak = max(abs(samples.min()), abs(samples.max()))
    if not np.isfinite(peak):
        raise InputError("samples: must not hold NaN or infinite values.")
    if peak > _LOUDEST:
        raise InputError(
            f"samples: must lie in [-1, 1]; received a peak of {peak:g}. Divide integers that "
            "were only converted to float by their full scale, 32768 for 16 bits."
        )
