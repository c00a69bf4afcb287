"""Waveform to log Mel: one TensorFlow definition, used in training and inside the exported file."""

import functools

import librosa
import numpy as np
import tensorflow as tf

from ser_nsl.config import FrontEndConfig

POWER_FLOOR = 1e-10  # -100 dB, the floor of librosa.power_to_db


@functools.cache
def mel_filters(config: FrontEndConfig) -> np.ndarray:
    """Returns librosa's Mel filters (Slaney's scale and area normalisation).

    Args:
        config: Number of bands and their edges.

    Returns:
        float32, shape `(window_samples // 2 + 1, mel_bins)`.
    """
    return librosa.filters.mel(
        sr=config.sample_rate_hz,
        n_fft=config.window_samples,
        n_mels=config.mel_bins,
        fmin=config.low_hz,
        fmax=config.high_hz,
    ).T


def log_mel(waveform: tf.Tensor, config: FrontEndConfig) -> tf.Tensor:
    """Computes log Mel frames of mono speech, in decibels.

    Equal to `librosa.power_to_db(librosa.feature.melspectrogram(center=False), top_db=None)`:
    on speech to 5e-6 dB on average, and to 1e-3 dB in bands within 70 dB of a frame's loudest;
    farther down, the 32 bits of the Fourier transform show.

    Args:
        waveform: float32, shape `(batch, samples)`, nominally in [-1, 1], sampled at
            `config.sample_rate_hz`; at least one window long.
        config: Window, hop and bands.

    Returns:
        float32, shape `(batch, frames, mel_bins)`, ten times the decimal logarithm of the
        power, from -100 dB up.

    Raises:
        ValueError: If `waveform` is not float32 of rank 2.
    """
    waveform = tf.convert_to_tensor(waveform)
    if waveform.dtype != tf.float32 or waveform.shape.rank != 2:
        raise ValueError(
            "waveform must be float32 of shape (batch, samples); received "
            f"{waveform.dtype.name} of shape {waveform.shape}"
        )
    spectrum = tf.signal.stft(
        waveform,
        frame_length=config.window_samples,
        frame_step=config.hop_samples,
        fft_length=config.window_samples,  # else the next power of two
        window_fn=functools.partial(tf.signal.hann_window, periodic=True),
    )
    # tf.abs would take a square root that the next line undoes.
    power = tf.math.real(spectrum) ** 2 + tf.math.imag(spectrum) ** 2
    mel = tf.matmul(power, tf.constant(mel_filters(config)))
    return 10.0 / np.log(10.0) * tf.math.log(tf.maximum(mel, POWER_FLOOR))
