"""The MFCC yardstick: how much of the likeness of clips a few classic numbers already tell."""

from collections.abc import Iterable

import librosa
import numpy as np
from sklearn.preprocessing import scale

from ser_nsl.audio import SAMPLE_RATE_HZ, fit_length

_COEFFICIENTS = 20
_WINDOW, _HOP = 512, 256  # samples, those of the default front end
_LEAST_SAMPLES = 2_048  # nine frames, over which librosa fits a delta


def mfcc_statistics(waveform: np.ndarray, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Describes a clip by mean and deviation of its MFCCs and deviation of their deltas.

    Args:
        waveform: float32, shape `(samples,)`, values in [-1, 1]; fewer than 2,048 samples are
            repeated to as many.
        sample_rate_hz: Sample rate in Hz.

    Returns:
        float32, shape `(60,)`: of 20 coefficients the means, the deviations, the deviations of
        the deltas.
    """
    coefficients = librosa.feature.mfcc(
        y=fit_length(waveform, max(len(waveform), _LEAST_SAMPLES)),
        sr=sample_rate_hz,
        n_mfcc=_COEFFICIENTS,
        n_fft=_WINDOW,
        hop_length=_HOP,
    )
    deltas = librosa.feature.delta(coefficients)
    statistics = [coefficients.mean(axis=1), coefficients.std(axis=1), deltas.std(axis=1)]
    return np.concatenate(statistics).astype(np.float32)


def mfcc_embeddings(
    waveforms: Iterable[np.ndarray], *, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> np.ndarray:
    """Describes the clips of a corpus, standardised over it, to be compared by cosine.

    Args:
        waveforms: Each as for `mfcc_statistics`; at least one.
        sample_rate_hz: Sample rate in Hz.

    Returns:
        float64, shape `(clips, 60)`; every column has mean 0 and deviation 1, or is all 0 where
        the clips do not differ.
    """
    statistics = [mfcc_statistics(each, sample_rate_hz=sample_rate_hz) for each in waveforms]
    return scale(np.stack(statistics).astype(np.float64))
