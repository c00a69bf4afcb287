"""A light network that learns what a teacher hears in speech without labels."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.networks.blocks import FRAMES
from ser_nsl.training.augment import augment
from ser_nsl.training.heard import Heard
from ser_nsl.training.settings import Lessons, TeachingConfig
from ser_nsl.training.tap import check_layer
from ser_nsl.training.taught import divergence_of_similarities

_POOLED = "fc1"
_WARM_UP_SHARE = 0.1
_LEAST_DEVIATION = 1e-3
_LARGEST = 6.0  # deviations of a part: a few dimensions of large encoders are far out at times


class Lesson:
    """A network in training, and the linear layers through which it learns.

    `frames`: they predict the teacher's frames from the network's own, over equal parts of the
    time, and the mean and deviation of all frames from fc1 (regression on hidden features, arXiv
    1412.6550). All targets are standardised, so the loss of one who knows nothing is 1.
    `similarity`: fc1 divides a window's similarity among the others of its batch as the teacher
    does (arXiv 1904.05068, 2007.01951).

    Attributes:
        head_variables: Weights of the linear layers.
        optimizer: Adam; its rate rises over the first tenth of all steps, then falls along a
            cosine.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        description: Description,
        first: Heard,
        method: Lessons,
        config: TeachingConfig,
        *,
        steps: int,
    ) -> None:
        """Prepares the training.

        Args:
            network: A light network.
            description: Description of its input.
            first: What is heard in some windows: the scale of the targets.
            method: What is learned.
            config: Learning rate, weights, augmentation.
            steps: Number of steps in all epochs together.

        Raises:
            InputError: If the network lacks the layer `fc1`, or for `frames` one of that name.
        """
        outputs, self._heads = [check_layer(network, _POOLED).output], []
        if method == "frames":
            frames = check_layer(network, FRAMES).output
            outputs.append(tf.keras.layers.Reshape((frames.shape[1], -1))(frames))
            for output, values in zip(outputs, (first.pooled, first.parts), strict=True):
                self._heads.append(tf.keras.layers.Dense(values.shape[-1]))
                self._heads[-1].build(output.shape)
        self._body = tf.keras.Model(network.input, outputs)
        self._method, self._config, self._description = method, config, description
        self._scales = [_scale(values) for values in (first.pooled, first.parts)]
        self.head_variables = [each for head in self._heads for each in head.trainable_variables]
        self._variables = [*self._body.trainable_variables, *self.head_variables]
        rising = max(1, round(_WARM_UP_SHARE * steps))
        schedule = tf.keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, steps - rising),
            warmup_target=config.learning_rate,
            warmup_steps=rising,
        )
        self.optimizer = tf.keras.optimizers.Adam(schedule)
        self.optimizer.build(self._variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def train(self, heard: Heard, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step.

        Args:
            heard: What is heard in a batch of windows.
            seed: Seed of the augmentation, int64, shape `(2,)`.

        Returns:
            As `losses`.
        """
        logmel = tf.cast(heard.logmel, tf.float32)
        altered = augment(logmel, seed, self._config.augmentation, self._description)
        with tf.GradientTape() as tape:
            losses = self._losses(heard._replace(logmel=altered), training=True)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, self._variables)
        self.optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return losses

    @tf.function(autograph=False, reduce_retracing=True)
    def losses(self, heard: Heard) -> tf.Tensor:
        """Computes the loss of what fc1 is asked, and for `frames` that of the parts.

        Args:
            heard: What is heard in a batch of windows.

        Returns:
            float32, shape `(1,)` or `(2,)`.
        """
        return self._losses(heard, training=False)

    def _losses(self, heard: Heard, *, training: bool) -> tf.Tensor:
        outputs = tf.nest.flatten(self._body(tf.cast(heard.logmel, tf.float32), training=training))
        targets = [
            (tf.cast(values, tf.float32) - mean) / deviation
            for values, (mean, deviation) in zip(
                (heard.pooled, heard.parts), self._scales, strict=True
            )
        ]
        if self._method == "similarity":
            return divergence_of_similarities(targets[0], outputs[0])[tf.newaxis]
        targets[1] = tf.clip_by_value(targets[1], -_LARGEST, _LARGEST)
        return tf.stack(
            [
                tf.reduce_mean((head(output) - target) ** 2)
                for head, output, target in zip(self._heads, outputs, targets, strict=True)
            ]
        )


def parts_of(network: tf.keras.Model, method: Lessons) -> int:
    """Into how many parts a network divides the time of a window.

    Args:
        network: A light network.
        method: What it learns; of similarities, all of the time is one part.

    Raises:
        InputError: If the network lacks the layer `frames`.
    """
    return check_layer(network, FRAMES).output_shape[1] if method == "frames" else 1


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column, over at most 1,000 windows."""
    some = values[:1_000].astype(np.float32).reshape(-1, values.shape[-1])
    return some.mean(axis=0), np.maximum(some.std(axis=0), _LEAST_DEVIATION)
