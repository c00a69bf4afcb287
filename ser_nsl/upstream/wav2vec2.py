"""wav2vec 2.0 (arXiv 2006.11477): convolutions, which may be frozen, then a transformer.

HuBERT (arXiv 2106.07447) is the same network, trained on clusters of its own frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ser_nsl.lazy import tf
from ser_nsl.upstream.encoder import Encoder

if TYPE_CHECKING:
    from transformers import Wav2Vec2FeatureExtractor

_VARIANCE_FLOOR = 1e-7  # as Wav2Vec2FeatureExtractor
_SETTINGS_OF_RESULTS = (
    "conv_stride",
    "do_stable_layer_norm",
    "feat_extract_activation",
    "feat_extract_norm",
    "hidden_act",
    "num_attention_heads",
)


class Wav2Vec2Encoder(Encoder):
    """A wav2vec 2.0 or a HuBERT without its head."""

    def __init__(self, body: Any, extractor: Wav2Vec2FeatureExtractor) -> None:
        """Wraps a network.

        Args:
            body: `TFWav2Vec2MainLayer` or `TFHubertMainLayer`, built.
            extractor: Input settings of the checkpoint.
        """
        from ser_nsl.upstream.weights import weight_name

        config = body.config
        self.body, self.extractor = body, extractor
        self.architecture = config.model_type
        self.layers, self.width = config.num_hidden_layers, config.hidden_size
        self.least_samples, self.hop_samples = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.least_samples += (kernel - 1) * self.hop_samples
            self.hop_samples *= stride
        self.first_sample = self.least_samples // 2
        self.longest_samples = None
        self.settings = {key: getattr(config, key) for key in _SETTINGS_OF_RESULTS} | {
            "do_normalize": extractor.do_normalize
        }
        self.weights = {weight_name(variable): variable for variable in body.weights}
        self.weights.pop("masked_spec_embed", None)  # only used in training

    def frames(self, waveform: tf.Tensor, layers: Sequence[int]) -> list[tf.Tensor]:
        """As `Encoder.frames`."""
        features = frame_features(self.body, waveform, self.extractor)
        states = hidden_states(self.body, features, depth=max(layers))
        return [states[layer] for layer in layers]


def standardise(waveform: tf.Tensor, extractor: Wav2Vec2FeatureExtractor) -> tf.Tensor:
    """Scales each clip to mean 0 and deviation 1, where the checkpoint was trained so.

    Args:
        waveform: float32, shape `(batch, samples)`, without padding.
        extractor: Input settings of the checkpoint.

    Returns:
        float32, same shape.
    """
    if not extractor.do_normalize:
        return waveform
    mean, variance = tf.nn.moments(waveform, axes=[1], keepdims=True)
    return (waveform - mean) * tf.math.rsqrt(variance + _VARIANCE_FLOOR)


def frame_features(
    body: Any, waveform: tf.Tensor, extractor: Wav2Vec2FeatureExtractor
) -> tf.Tensor:
    """Runs the convolutions: the first half, which is usually frozen in fine-tuning.

    Args:
        body: `TFWav2Vec2MainLayer` or `TFHubertMainLayer`.
        waveform: float32, shape `(batch, samples)` at 16 kHz, without padding.
        extractor: Input settings of the checkpoint.

    Returns:
        Shape `(batch, frames, channels)`, one frame every 20 ms with the published strides.
    """
    return body.feature_extractor(standardise(waveform, extractor))


def hidden_states(
    body: Any,
    features: tf.Tensor,
    *,
    depth: int | None = None,
    training: bool = False,
    masked: tf.Tensor | None = None,
    dropped: tf.Tensor | None = None,
) -> list[tf.Tensor]:
    """Runs projection and transformer: the second half.

    Args:
        body: `TFWav2Vec2MainLayer` or `TFHubertMainLayer`.
        features: Output of `frame_features`, shape `(batch, frames, channels)`.
        depth: Number of layers to run; by default all.
        training: Whether to apply dropout.
        masked: bool, shape `(batch, frames)`: frames that the learned mask replaces in the input
            of the transformer.
        dropped: bool, shape `(batch, hidden size)`: features that are 0 in the input of the
            transformer.

    Returns:
        Shapes `(batch, frames, hidden size)`: the transformer's input and each layer's output,
        `depth + 1` tensors; the last of all layers is the input of the head.
    """
    projected = body.feature_projection(features, training=training)
    hidden = projected[0] if isinstance(projected, tuple) else projected  # HuBERT gives no pair
    if masked is not None:
        mask = tf.cast(body.masked_spec_embed, hidden.dtype)
        hidden = tf.where(masked[..., tf.newaxis], mask, hidden)
    if dropped is not None:
        hidden = tf.where(dropped[:, tf.newaxis], tf.zeros([], hidden.dtype), hidden)
    encoder = body.encoder
    norm_last = body.config.do_stable_layer_norm  # of the whole transformer, or of its input
    hidden += encoder.pos_conv_embed(hidden)
    if not norm_last:
        hidden = encoder.layer_norm(hidden)
    states = [encoder.dropout(hidden, training=training)]
    for layer in encoder.layer[:depth]:
        states.append(layer(states[-1], training=training)[0])
    if norm_last and len(states) > len(encoder.layer):
        states[-1] = encoder.layer_norm(states[-1])
    return states
