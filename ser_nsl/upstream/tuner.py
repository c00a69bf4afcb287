"""The steps of fine-tuning: whole batches in, on any number of devices, in parts that fit them."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor
from transformers.modeling_tf_utils import keras

from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.dropout import seed_dropout
from ser_nsl.upstream.encoder import (
    frame_features,
    frame_statistics,
    hidden_states,
    random_spans,
)
from ser_nsl.upstream.position import mend_position_convolution
from ser_nsl.upstream.settings import FineTuningConfig

_WARM_UP_SHARE = 0.1


def all_devices() -> tf.distribute.Strategy:
    """Every GPU that TensorFlow sees where there are several, else the one device there is."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class Tuner:
    """A model in training.

    Attributes:
        model: The upstream.
        extractor: Settings of its input.
        classes: What it tells apart.
        optimizer: Adam, with loss scaling where the precision is `mixed_float16`.
    """

    model: TFWav2Vec2ForSequenceClassification
    extractor: Wav2Vec2FeatureExtractor
    classes: tuple[str, ...]
    optimizer: keras.optimizers.Optimizer

    def __init__(
        self,
        upstream: str,
        classes: tuple[str, ...],
        config: FineTuningConfig,
        *,
        steps: int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Loads a checkpoint and gives it a head.

        Args:
            upstream: Hub name, or folder of a checkpoint.
            classes: What to tell apart.
            config: How to train.
            steps: Number of steps in all epochs together, for the schedule.
            strategy: The devices.

        Raises:
            InputError: If the checkpoint cannot be used, or a batch cannot be shared out evenly.
        """
        shares = config.accumulate * strategy.num_replicas_in_sync
        if config.batch_size % shares:
            raise InputError(
                f"config.batch_size: must be a multiple of accumulate times devices, that is of "
                f"{shares}; received {config.batch_size}. Choose another, or hide devices with "
                "CUDA_VISIBLE_DEVICES."
            )
        self.classes = classes
        self._config, self._steps, self._strategy = config, steps, strategy
        self._share = config.batch_size // shares
        keras.utils.set_random_seed(config.seed)
        with strategy.scope(), _precision(config.precision):
            self.model, self.extractor = load_upstream(upstream, classes=classes)
            mend_position_convolution(self.model)
            if config.freeze_feature_encoder:
                self.model.freeze_feature_encoder()
            self._dropout_seed = seed_dropout(self.model)
            width = 2 * self.model.config.conv_dim[-1]
            self._tell = keras.layers.Dense(width, dtype="float32")
            self._tell.build((None, self.model.projector.units))
            self._mean, self._deviation = (
                tf.Variable(initial(width)) for initial in (tf.zeros, tf.ones)
            )
            self._variables = [
                variable
                for variable in self.model.trainable_variables
                if self._masks_time or "masked_spec_embed" not in variable.name
            ]
            if config.statistics:
                self._variables += self._tell.trainable_variables
            self._sums = [
                tf.Variable(
                    tf.zeros_like(variable),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in self._variables
            ]
            self.optimizer = keras.optimizers.Adam(config.learning_rate)
            if config.precision == "mixed_float16":
                self.optimizer = keras.mixed_precision.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self._variables)
            self._metric = UAR(len(classes))

    @property
    def weights(self) -> list[tf.Variable]:
        """All that training may change."""
        return [*self.model.weights, *self._tell.weights]

    def hear(self, frames: np.ndarray) -> None:
        """Learns how the statistics of clips vary; needed for the task `statistics` only.

        Args:
            frames: What `frames` makes of some clips.
        """
        mean, variance = tf.nn.moments(frame_statistics(frames), axes=[0])
        self._mean.assign(mean)
        self._deviation.assign(tf.sqrt(variance + 1e-6))

    @property
    def _masks_time(self) -> bool:
        return self.model.config.apply_spec_augment and self.model.config.mask_time_prob > 0

    @property
    def _masks_features(self) -> bool:
        return self.model.config.apply_spec_augment and self.model.config.mask_feature_prob > 0

    def train(self, inputs: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> float:
        """Takes one step.

        Args:
            inputs: Waveforms, float32 `(clips, samples)`, or what `frames` makes of them, which
                the task `statistics` needs; at most `config.batch_size` clips.
            labels: int32, shape `(clips,)`.
            random: Decides on dropout and masks.

        Returns:
            Mean loss. If it is not finite, the weights have not been changed.
        """
        batch = self._fill(inputs, labels) | self._draw_masks(inputs, random)
        batch["weights"] /= len(labels)
        loss = 0.0
        for part in range(self._config.accumulate):
            self._dropout_seed.assign(_draw_seed(random))
            loss += float(self._add_gradients(self._share_out(batch, part)))
        if np.isfinite(loss):
            self.optimizer.learning_rate.assign(self.learning_rate)
            self._apply_gradients()
        self._forget_gradients()
        return loss

    def uar(self, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
        """Scores every clip once.

        Args:
            batches: Inputs and labels, as for `train`.

        Returns:
            Unweighted average recall, 0 to 1.
        """
        self._metric.reset_state()
        for inputs, labels in batches:
            batch = self._fill(inputs, labels)
            for part in range(self._config.accumulate):
                self._score(self._share_out(batch, part))
        return float(self._metric.result())

    @tf.function(autograph=False, reduce_retracing=True)
    def frames(self, waveform: tf.Tensor) -> tf.Tensor:
        """Runs the convolutions only, in float32 `(batch, samples)`; see `frame_features`."""
        return frame_features(self.model, waveform, self.extractor)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        if self._config.schedule == "constant":
            return self._config.learning_rate
        step, warm_up = int(self.optimizer.iterations.numpy()), _WARM_UP_SHARE * self._steps
        falling = (self._steps - step) / (self._steps - warm_up)
        return self._config.learning_rate * min((step + 1) / warm_up, falling, 1.0)

    def _fill(self, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Brings every batch to one size; clips that fill up have weight 0."""
        chosen = np.resize(np.arange(len(labels)), self._config.batch_size)
        weights = (np.arange(len(chosen)) < len(labels)).astype(np.float32)
        return {"inputs": inputs[chosen], "labels": labels[chosen], "weights": weights}

    def _draw_masks(self, inputs: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """SpecAugment with the checkpoint's settings, in the place of transformers' own.

        That one draws anew in each replica and zeroes the features that it should keep.
        """
        config, size = self.model.config, self._config.batch_size
        masks = {}
        if self._masks_time:
            masks["masked"] = random_spans(
                (size, self._frames_of(inputs)),
                config.mask_time_prob,
                config.mask_time_length,
                seed=_draw_seed(random),
            ).numpy()
        if self._masks_features:
            masks["dropped"] = random_spans(
                (size, config.hidden_size),
                config.mask_feature_prob,
                config.mask_feature_length,
                seed=_draw_seed(random),
            ).numpy()
        return masks

    def _frames_of(self, inputs: np.ndarray) -> int:
        length = inputs.shape[1]
        if inputs.ndim == 2:
            config = self.model.config
            for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
                length = (length - kernel) // stride + 1
        return length

    def _share_out(self, batch: Mapping[str, np.ndarray], part: int) -> dict[str, tf.Tensor]:
        """One part of a batch, a share for each replica."""

        def of_replica(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
            replicas = self._strategy.num_replicas_in_sync
            start = (part * replicas + context.replica_id_in_sync_group) * self._share
            return {
                name: tf.convert_to_tensor(values[start : start + self._share])
                for name, values in batch.items()
            }

        return self._strategy.experimental_distribute_values_from_function(of_replica)

    def _embed(self, part: Mapping[str, tf.Tensor], *, training: bool) -> tf.Tensor:
        features = part["inputs"]
        if features.shape.rank == 2:
            features = frame_features(self.model, features, self.extractor)
        hidden = hidden_states(
            self.model,
            features,
            training=training,
            masked=part.get("masked"),
            dropped=part.get("dropped"),
        )[-1]
        return tf.reduce_mean(self.model.projector(hidden), axis=1)

    def _logits(self, embedding: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.model.classifier(embedding), tf.float32)

    def _statistics_losses(self, embedding: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        statistics = (frame_statistics(features) - self._mean) / self._deviation
        return tf.reduce_mean((self._tell(embedding) - statistics) ** 2, axis=1)

    @tf.function(autograph=False)
    def _add_gradients(self, part: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Adds a part's gradients to those of the parts before; returns its share of the loss."""
        losses = self._strategy.run(self._add_in_replica, args=(part,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _add_in_replica(self, part: Mapping[str, tf.Tensor]) -> tf.Tensor:
        classes, smoothing = len(self.classes), self._config.label_smoothing
        targets = tf.one_hot(
            part["labels"],
            classes,
            on_value=1 - smoothing + smoothing / classes,
            off_value=smoothing / classes,
        )
        with tf.GradientTape() as tape:
            embedding = self._embed(part, training=True)
            logits = self._logits(embedding)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            if self._config.statistics:
                told = self._statistics_losses(embedding, part["inputs"])
                losses += self._config.statistics * told
            loss = tf.reduce_sum(part["weights"] * losses)
            objective = self.optimizer.get_scaled_loss(loss) if self._scales_loss else loss
        gradients = tape.gradient(objective, self._variables)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(gradient)
        return loss

    @tf.function(autograph=False)
    def _apply_gradients(self) -> None:
        self._strategy.run(self._apply_in_replica)

    def _apply_in_replica(self) -> None:
        gradients = [tf.identity(total) for total in self._sums]
        if self._scales_loss:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self._variables, strict=True))

    @tf.function(autograph=False)
    def _forget_gradients(self) -> None:
        self._strategy.run(self._forget_in_replica)

    def _forget_in_replica(self) -> None:
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    @tf.function(autograph=False)
    def _score(self, part: Mapping[str, tf.Tensor]) -> None:
        self._strategy.run(self._score_in_replica, args=(part,))

    def _score_in_replica(self, part: Mapping[str, tf.Tensor]) -> None:
        logits = self._logits(self._embed(part, training=False))
        self._metric.update_state(part["labels"], logits, part["weights"])

    @property
    def _scales_loss(self) -> bool:
        return self._config.precision == "mixed_float16"


def _draw_seed(random: np.random.Generator) -> np.ndarray:
    return random.integers(2**62, size=2)


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Makes layers of a precision; their weights stay float32."""
    former = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(former)
