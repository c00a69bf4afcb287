"""A small wav2vec 2.0, and the steps in which it learns from a large encoder."""

from __future__ import annotations

from typing import cast

import librosa
import numpy as np
import tensorflow as tf
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor
from transformers.modeling_tf_utils import keras

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import new_encoder
from ser_nsl.upstream.encoder import Encoder, as_float16, pool
from ser_nsl.upstream.position import fix_position_convolution
from ser_nsl.upstream.settings import DistillationConfig, StudentConfig
from ser_nsl.upstream.wav2vec2 import Wav2Vec2Encoder, frame_features, hidden_states

_HEADS = 4
_WARM_UP_SHARE = 0.1
_GRADIENT_NORM = 1.0
_LEAST_DEVIATION = 1e-3


def new_student(config: StudentConfig, seed: int) -> Wav2Vec2Encoder:
    """Makes a wav2vec 2.0 with random weights.

    Args:
        config: Its size.
        seed: Seed of the weights.

    Returns:
        The encoder.
    """
    keras.utils.set_random_seed(seed)
    settings = Wav2Vec2Config(
        architectures=["Wav2Vec2Model"],
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=_HEADS,
        intermediate_size=4 * config.width,
        do_stable_layer_norm=True,  # learns from random weights, where the other order does not
        conv_dim=(config.channels,) * len(config.kernels),
        conv_kernel=config.kernels,
        conv_stride=config.strides,
        feat_extract_norm=config.norm,
        conv_bias=config.norm == "layer",
        # Not grouped: TensorFlow trains grouped convolutions on a CPU five times more slowly.
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=1,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
    )
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    encoder = cast(Wav2Vec2Encoder, new_encoder(settings, extractor))
    kernel = encoder.body.feature_extractor.conv_layers[0].conv.kernel
    kernel.assign(_mel_filters(*kernel.shape))
    return encoder


def _mel_filters(taps: int, inputs: int, filters: int) -> np.ndarray:
    """Returns windowed tones in steps of Mel, each in four phases, of norm 1.

    A student whose first convolution starts with them is some 30 steps of 150 ahead of one that
    starts at random.
    """
    bands = -(-filters // 4)
    tones = librosa.mel_frequencies(bands + 2, fmin=0, fmax=SAMPLE_RATE_HZ / 2)[1:-1]
    time = (np.arange(taps) - (taps - 1) / 2) / SAMPLE_RATE_HZ
    quarters = np.arange(4) * np.pi / 2
    waves = np.cos(2 * np.pi * tones[:, np.newaxis] * time[:, np.newaxis, np.newaxis] + quarters)
    kernel = waves.reshape(taps, -1)[:, :filters] * np.hanning(taps + 2)[1:-1, np.newaxis]
    kernel /= np.linalg.norm(kernel, axis=0)
    return np.repeat(kernel[:, np.newaxis], inputs, axis=1).astype(np.float32)


class Lesson:
    """A student that learns to predict the frames of a teacher (arXiv 2110.01900).

    Each layer of the teacher is predicted by a linear layer on the student's last frames, in
    absolute difference and cosine; pooled frames predict pooled frames besides. The teacher's
    frames are standardised, or a few large dimensions would outweigh all others.

    Attributes:
        student: The encoder in training.
        config: Layers, windows and learning rate.
        variables: All that training changes.
        constants: What `fit_scale` sets.
        optimizer: Adam.
    """

    def __init__(
        self, student: Wav2Vec2Encoder, teacher: Encoder, config: DistillationConfig, *, steps: int
    ) -> None:
        """Prepares the training.

        Args:
            student: The encoder to train.
            teacher: The frozen encoder.
            config: Layers and learning rate.
            steps: Number of steps in all epochs together.

        Raises:
            InputError: If the two have frames at different rates, the teacher lacks a layer, or a
                window is too short or too long for one of them.
        """
        teacher.check_layers(config.layers)
        for encoder in (teacher, student):
            encoder.check_window(round(config.window_seconds * SAMPLE_RATE_HZ))
        if teacher.hop_samples != student.hop_samples:
            raise InputError(
                f"teacher: has {SAMPLE_RATE_HZ / teacher.hop_samples:g} frames/s, and the student "
                f"{SAMPLE_RATE_HZ / student.hop_samples:g}; they must be the same. Choose other "
                "--config.student.strides, or another student."
            )
        fix_position_convolution(student.body)
        self.student, self._teacher, self.config = student, teacher, config
        keras.utils.set_random_seed(config.seed)
        outputs = teacher.width * len(config.layers)
        self._frame_head = keras.layers.Dense(outputs, name="frame_head")
        self._frame_head.build((None, None, student.width))
        self._pooled_head = keras.layers.Dense(2 * outputs, name="pooled_head")
        self._pooled_head.build((None, 2 * student.width))
        self.constants = [
            tf.Variable(value(width), trainable=False)
            for width in (outputs, 2 * outputs)
            for value in (tf.zeros, tf.ones)
        ]
        body = [v for v in student.body.trainable_variables if "masked_spec_embed" not in v.name]
        heads = (self._frame_head, self._pooled_head)
        self.variables = [*body, *(v for head in heads for v in head.trainable_variables)]
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, round((1 - _WARM_UP_SHARE) * steps)),
            warmup_target=config.learning_rate,
            warmup_steps=max(1, round(_WARM_UP_SHARE * steps)),
        )
        self.optimizer = keras.optimizers.Adam(schedule, global_clipnorm=_GRADIENT_NORM)
        self.optimizer.build(self.variables)

    @property
    def target_shape(self) -> tuple[int, int]:
        """Frames of a window, and the width of the teacher's layers side by side."""
        samples = round(self.config.window_seconds * SAMPLE_RATE_HZ)
        return tuple(
            self.targets.get_concrete_function(
                tf.TensorSpec((1, samples), tf.float32)
            ).output_shapes[1:]
        )

    def fit_scale(self, frames: np.ndarray) -> None:
        """Sets the scale of the teacher's frames by those of some windows.

        Args:
            frames: What `targets` returns.
        """
        frames = tf.cast(frames, tf.float32)
        for i, values in enumerate((frames, pool(frames, "statistics")[tf.newaxis])):
            mean, variance = tf.nn.moments(values, axes=[0, 1])
            self.constants[2 * i].assign(mean)
            self.constants[2 * i + 1].assign(tf.maximum(tf.sqrt(variance), _LEAST_DEVIATION))

    @tf.function(autograph=False, reduce_retracing=True)
    def targets(self, clean: tf.Tensor) -> tf.Tensor:
        """Asks the teacher.

        Args:
            clean: Windows as recorded, float32, shape `(batch, samples)`.

        Returns:
            Its layers side by side, float16, shape `(batch, frames, layers x width)`.
        """
        return as_float16(tf.concat(self._teacher.frames(clean, self.config.layers), axis=-1))

    @tf.function(autograph=False, reduce_retracing=True)
    def train(self, frames: tf.Tensor, damaged: tf.Tensor) -> tf.Tensor:
        """Takes one step.

        Args:
            frames: What the teacher hears: the result of `targets`.
            damaged: What the student hears, float32, shape `(batch, samples)`.

        Returns:
            Loss of the frames, and of the pooled frames, shape `(2,)`.
        """
        with tf.GradientTape() as tape:
            losses = self.losses(frames, damaged)
            loss = losses[0] + self.config.statistics * losses[1]
        gradients = tape.gradient(loss, self.variables)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return losses

    @tf.function(autograph=False, reduce_retracing=True)
    def losses(self, frames: tf.Tensor, damaged: tf.Tensor) -> tf.Tensor:
        """Computes what `train` returns, without a step."""
        student = self.student
        frames = tf.cast(frames, tf.float32)
        features = frame_features(student.body, damaged, student.extractor)
        own = hidden_states(student.body, features)[-1]
        mean, deviation, pooled_mean, pooled_deviation = self.constants
        pooled = (pool(frames, "statistics") - pooled_mean) / pooled_deviation
        predicted = self._pooled_head(pool(own, "statistics"))
        second = tf.reduce_mean((predicted - pooled) ** 2)
        # Frames whose centres are nearest belong together.
        shift = round((student.first_sample - self._teacher.first_sample) / student.hop_samples)
        first_own, first = max(0, -shift), max(0, shift)
        count = tf.minimum(tf.shape(own)[1] - first_own, tf.shape(frames)[1] - first)
        own = own[:, first_own : first_own + count]
        targets = (frames[:, first : first + count] - mean) / deviation
        predicted = self._frame_head(own)
        absolute = tf.reduce_mean(tf.abs(predicted - targets))
        by_layer = [
            tf.stack(tf.split(each, len(self.config.layers), axis=-1))
            for each in (predicted, targets)
        ]
        cosine = -keras.losses.cosine_similarity(*by_layer)
        return tf.stack([absolute - tf.reduce_mean(tf.math.log_sigmoid(cosine)), second])
