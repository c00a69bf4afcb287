"""Rules for samples in memory: types, shapes, values and rates, in training and on a device."""

import numpy as np

from ser_nsl.errors import InputError

_LOWEST_RATE_HZ = 1_000  # smaller numbers are meant as kHz
_HIGHEST_RATE_HZ = 1_000_000
MAX_CHANNELS = 32
"""Most channels of audio; more are samples: the array is transposed."""

_MAX_PEAK = 10.0  # 20 dB above full scale; higher values are integers that were not scaled


def check_rate(sample_rate_hz: float) -> None:
    """Checks a sample rate.

    Args:
        sample_rate_hz: From 1,000 to 1,000,000.

    Raises:
        InputError: If it is outside this range, or not a number.
    """
    try:
        fits = _LOWEST_RATE_HZ <= sample_rate_hz <= _HIGHEST_RATE_HZ
    except TypeError:  # not a number
        fits = False
    if not fits:
        raise InputError(
            f"sample_rate_hz: must be a number in Hz, from {_LOWEST_RATE_HZ} to "
            f"{_HIGHEST_RATE_HZ}; received {sample_rate_hz!r}."
        )


def as_float(samples: np.ndarray) -> np.ndarray:
    """Checks samples and converts them to float32.

    Args:
        samples: Shape `(samples,)` or `(samples, channels)`, of any length, with up to 32
            channels; float in [-1, 1], or int16, which is divided by 32768.

    Returns:
        float32, same shape.

    Raises:
        InputError: If `samples` has another shape or type, holds NaN or infinite values, or has a
            peak above 10.
    """
    samples = np.asarray(samples)
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or not 1 <= channels <= MAX_CHANNELS:
        raise InputError(
            "samples: must have shape (samples,) or (samples, channels), with 1 to "
            f"{MAX_CHANNELS} channels; received {samples.shape}."
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if samples.dtype.kind != "f":
        raise InputError(
            f"samples: must be float in [-1, 1] or int16; received {samples.dtype}. Divide by "
            "the full scale of that type."
        )
    # Minimum and maximum are NaN where one sample is, and need no copy of an hour of audio.
    peak = max(abs(samples.min(initial=0)), abs(samples.max(initial=0)))
    if not np.isfinite(peak):
        raise InputError("samples: must not hold NaN or infinite values; record or export again.")
    if peak > _MAX_PEAK:
        raise InputError(
            f"samples: must lie in [-1, 1]; received a peak of {peak:g}. Divide integers that "
            "were only converted to float by their full scale, 32768 for 16 bits."
        )
    return samples.astype(np.float32, copy=False)
