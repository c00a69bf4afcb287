"""The encoder of Whisper (arXiv 2212.04356): log Mel, two convolutions, a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser_nsl.lazy import tf
from ser_nsl.upstream.encoder import Encoder

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper.modeling_tf_whisper import TFWhisperEncoder

_LEAST_POWER = 1e-10
_RANGE_DECADES = 8.0  # below a clip's loudest point, nothing is heard


class WhisperEncoder(Encoder):
    """The encoder of a Whisper, without padding to 30 s.

    Its positions are sinusoids, so clips of their own length do as well: over 3 s and more, means
    and deviations of padded and unpadded clips correlate with 0.97 to 0.99.
    """

    def __init__(self, body: TFWhisperEncoder, extractor: WhisperFeatureExtractor) -> None:
        """Wraps a network.

        Args:
            body: The encoder, built.
            extractor: Input settings of the checkpoint.
        """
        from ser_nsl.upstream.weights import weight_name

        config = body.config
        self.body, self.extractor = body, extractor
        self._n_fft, self._hop = extractor.n_fft, extractor.hop_length
        self._mel_filters = extractor.mel_filters.astype(np.float32)
        self.architecture = config.model_type
        self.layers, self.width = config.encoder_layers, config.d_model
        self.hop_samples, self.first_sample = 2 * self._hop, 0
        # Half a window is reflected at both ends, which needs one sample more.
        self.least_samples = max(self._n_fft // 2 + 1, self.hop_samples)
        self.longest_samples = config.max_source_positions * self.hop_samples
        self.settings = {
            "activation_function": config.activation_function,
            "encoder_attention_heads": config.encoder_attention_heads,
            "hop_length": self._hop,
            "n_fft": self._n_fft,
            "scale_embedding": config.scale_embedding,
        }
        self.weights = {weight_name(variable): variable for variable in body.weights}

    def frames(self, waveform: tf.Tensor, layers: Sequence[int]) -> list[tf.Tensor]:
        """As `Encoder.frames`."""
        body = self.body
        hidden = self.log_mel(waveform)
        for convolution in (body.conv1, body.conv2):
            hidden = tf.nn.gelu(convolution(tf.pad(hidden, [[0, 0], [1, 1], [0, 0]])))
        states = [hidden + body.embed_positions.weight[: tf.shape(hidden)[1]]]
        for layer in body.encoder_layers[: max(layers)]:
            states.append(layer(states[-1], None, None)[0])
        if len(states) > self.layers:
            states[-1] = body.layer_norm(states[-1])
        return [states[layer] for layer in layers]

    def log_mel(self, waveform: tf.Tensor) -> tf.Tensor:
        """Computes what `WhisperFeatureExtractor` does, for a clip of its own length.

        Args:
            waveform: float32, shape `(batch, samples)` at 16 kHz.

        Returns:
            float32, shape `(batch, samples // hop_length, mels)`.
        """
        half = self._n_fft // 2
        padded = tf.pad(waveform, [[0, 0], [half, half]], "REFLECT")
        spectra = tf.signal.stft(padded, self._n_fft, self._hop, fft_length=self._n_fft)[:, :-1]
        mels = tf.square(tf.abs(spectra)) @ self._mel_filters
        decades = tf.math.log(tf.maximum(mels, _LEAST_POWER)) / np.log(10.0)
        loudest = tf.reduce_max(decades, axis=[1, 2], keepdims=True)
        return (tf.maximum(decades, loudest - _RANGE_DECADES) + 4.0) / 4.0
