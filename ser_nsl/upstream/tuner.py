"""The steps of fine-tuning: batches, on any number of devices, in parts that fit into memory."""

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor
from transformers.modeling_tf_utils import keras

from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.upstream.checkpoint import load_for_finetuning
from ser_nsl.upstream.dropout import seed_dropout
from ser_nsl.upstream.encoder import random_spans
from ser_nsl.upstream.position import fix_position_convolution
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.wav2vec2 import frame_features, hidden_states

_WARM_UP_SHARE = 0.1


def all_devices() -> tf.distribute.Strategy:
    """Returns the strategy for all GPUs where there are several, or for the only device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class Tuner:
    """A model in training.

    Attributes:
        model: The upstream.
        extractor: Its input settings.
        classes: The emotions.
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
            classes: The emotions.
            config: Settings of the training.
            steps: Number of steps in all epochs together, for the schedule.
            strategy: The devices.

        Raises:
            InputError: If the checkpoint cannot be used, or a batch cannot be divided evenly.
        """
        parts = config.accumulate * strategy.num_replicas_in_sync
        if config.batch_size % parts:
            raise InputError(
                f"config.batch_size: must be a multiple of accumulate times devices, that is of "
                f"{parts}; received {config.batch_size}. Choose another, or hide devices with "
                "CUDA_VISIBLE_DEVICES."
            )
        self.classes = classes
        self._config, self._steps, self._strategy = config, steps, strategy
        self._part_size = config.batch_size // parts
        self._scales_loss = config.precision == "mixed_float16"
        keras.utils.set_random_seed(config.seed)
        with strategy.scope(), _precision(config.precision):
            self.model, self.extractor = load_for_finetuning(upstream, classes)
            fix_position_convolution(self.model.wav2vec2)
            if config.freeze_feature_encoder:
                self.model.freeze_feature_encoder()
            masks = self.model.config
            self._masks_time = masks.apply_spec_augment and masks.mask_time_prob > 0
            self._masks_features = masks.apply_spec_augment and masks.mask_feature_prob > 0
            self._dropout_seed = seed_dropout(self.model)
            self._variables = [
                variable
                for variable in self.model.trainable_variables
                if self._masks_time or "masked_spec_embed" not in variable.name
            ]
            self._gradients = [
                tf.Variable(
                    tf.zeros_like(variable),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in self._variables
            ]
            self.optimizer = keras.optimizers.Adam(config.learning_rate)
            if self._scales_loss:
                self.optimizer = keras.mixed_precision.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self._variables)
            self._metric = UAR(len(classes))

    def train(self, inputs: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> float:
        """Takes one step.

        Args:
            inputs: Waveforms, float32 `(clips, samples)`, or the output of `frames` for them; at
                most `config.batch_size` clips.
            labels: int32, shape `(clips,)`.
            random: Source of the random numbers for dropout and masks.

        Returns:
            Mean loss. If it is not finite, the weights have not been changed.
        """
        batch = self._fill(inputs, labels) | self._draw_masks(inputs, random)
        batch["weights"] /= len(labels)
        loss = 0.0
        for part in range(self._config.accumulate):
            self._dropout_seed.assign(_draw_seed(random))
            loss += float(self._add_gradients(self._divide(batch, part), tf.constant(part == 0)))
        if np.isfinite(loss):
            self.optimizer.learning_rate.assign(self.learning_rate)
            self._apply_gradients()
        return loss

    def uar(self, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
        """Computes the unweighted average recall.

        Args:
            batches: Inputs and labels, as for `train`.

        Returns:
            UAR, 0 to 1.
        """
        self._metric.reset_state()
        for inputs, labels in batches:
            batch = self._fill(inputs, labels)
            for part in range(self._config.accumulate):
                self._score(self._divide(batch, part))
        return float(self._metric.result())

    @tf.function(autograph=False, reduce_retracing=True)
    def frames(self, waveform: tf.Tensor) -> tf.Tensor:
        """Runs only the convolutions, on float32 `(batch, samples)`; see `frame_features`."""
        return frame_features(self.model.wav2vec2, waveform, self.extractor)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        if self._config.schedule == "constant":
            return self._config.learning_rate
        step, warm_up = int(self.optimizer.iterations.numpy()), _WARM_UP_SHARE * self._steps
        falling = (self._steps - step) / (self._steps - warm_up)
        return self._config.learning_rate * min((step + 1) / warm_up, falling, 1.0)

    def _fill(self, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Fills every batch up to one size, with clips of weight 0."""
        chosen = np.resize(np.arange(len(labels)), self._config.batch_size)
        weights = (np.arange(len(chosen)) < len(labels)).astype(np.float32)
        return {"inputs": inputs[chosen], "labels": labels[chosen], "weights": weights}

    def _draw_masks(self, inputs: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Draws the masks of SpecAugment, with the checkpoint's settings.

        The masks of transformers differ between replicas, and it zeroes the features that it
        should keep.
        """
        config, size = self.model.config, self._config.batch_size
        masks: dict[str, tf.Tensor] = {}
        if self._masks_time:
            frames = inputs.shape[1]
            if inputs.ndim == 2:
                frames = self.model.wav2vec2._get_feat_extract_output_lengths(frames)
            share, length = config.mask_time_prob, config.mask_time_length
            masks["masked"] = random_spans((size, frames), share, length, seed=_draw_seed(random))
        if self._masks_features:
            shape = (size, config.hidden_size)
            share, length = config.mask_feature_prob, config.mask_feature_length
            masks["dropped"] = random_spans(shape, share, length, seed=_draw_seed(random))
        return {name: mask.numpy() for name, mask in masks.items()}

    def _divide(self, batch: Mapping[str, np.ndarray], part: int) -> dict[str, tf.Tensor]:
        """Returns one part of a batch, divided among the replicas."""

        def of_replica(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
            replicas = self._strategy.num_replicas_in_sync
            start = (part * replicas + context.replica_id_in_sync_group) * self._part_size
            return {
                name: tf.convert_to_tensor(values[start : start + self._part_size])
                for name, values in batch.items()
            }

        return self._strategy.experimental_distribute_values_from_function(of_replica)

    def _logits(self, part: Mapping[str, tf.Tensor], *, training: bool) -> tf.Tensor:
        features = part["inputs"]
        if features.shape.rank == 2:
            features = frame_features(self.model.wav2vec2, features, self.extractor)
        masks = {name: part[name] for name in ("masked", "dropped") if name in part}
        hidden = hidden_states(self.model.wav2vec2, features, training=training, **masks)[-1]
        embedding = tf.reduce_mean(self.model.projector(hidden), axis=1)
        return tf.cast(self.model.classifier(embedding), tf.float32)

    @tf.function(autograph=False)
    def _add_gradients(self, part: Mapping[str, tf.Tensor], is_first: tf.Tensor) -> tf.Tensor:
        """Adds a part's gradients to those of the parts before; returns its share of the loss."""
        losses = self._strategy.run(self._add_in_replica, args=(part, is_first))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _add_in_replica(self, part: Mapping[str, tf.Tensor], is_first: tf.Tensor) -> tf.Tensor:
        targets = tf.one_hot(part["labels"], len(self.classes))
        with tf.GradientTape() as tape:
            logits = self._logits(part, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(part["weights"] * losses)
            objective = self.optimizer.get_scaled_loss(loss) if self._scales_loss else loss
        gradients = tape.gradient(objective, self._variables)
        for total, gradient in zip(self._gradients, gradients, strict=True):
            total.assign(gradient + tf.where(is_first, tf.zeros_like(total), total))
        return loss

    @tf.function(autograph=False)
    def _apply_gradients(self) -> None:
        self._strategy.run(self._apply_in_replica)

    def _apply_in_replica(self) -> None:
        gradients = [tf.identity(total) for total in self._gradients]
        if self._scales_loss:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, self._variables, strict=True))

    @tf.function(autograph=False)
    def _score(self, part: Mapping[str, tf.Tensor]) -> None:
        self._strategy.run(self._score_in_replica, args=(part,))

    def _score_in_replica(self, part: Mapping[str, tf.Tensor]) -> None:
        logits = self._logits(part, training=False)
        self._metric.update_state(part["labels"], logits, part["weights"])


def _draw_seed(random: np.random.Generator) -> np.ndarray:
    return random.integers(2**62, size=2)


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Lets Keras make layers that compute in a precision; their weights stay float32."""
    former = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(former)
