"""The fit loop: it runs epochs, keeps weights, stops early, and goes on after a stop."""

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.networks.autograph import leave_tf_keras
from ser_nsl.networks.saved import save_last_weights
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.progress import Progress
from ser_nsl.training.data import LabelledClips, TrainingClips
from ser_nsl.training.devices import divided
from ser_nsl.training.epochs import Epochs
from ser_nsl.training.graph_regularization import GraphRegularization
from ser_nsl.training.orders import shuffled
from ser_nsl.training.schedule import learning_rate_schedule
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.taught import Taught
from ser_nsl.training.watch import Curves, ProgressBar

HEAD = ("fc1", "fc2")
"""Names of the layers that learn alone in the first epochs of a network that has a start."""


def fit(
    trained: tf.keras.Model,
    network: tf.keras.Model,
    clips: TrainingClips,
    validation: LabelledClips | None,
    description: Description,
    config: TrainingConfig,
    out: Path,
    *,
    head_epochs: int = 0,
) -> Progress:
    """Runs the epochs and leaves the kept weights in the network.

    A training that was stopped goes on after its last whole epoch, and ends with the same weights
    as one that was not.

    Args:
        trained: Model to fit: the network, its graph-regularised wrapper, or `Taught`.
        network: Network whose weights are kept.
        clips: Clips to train on.
        validation: Clips to choose the epoch on, if any.
        description: Description of the features.
        config: Settings of the training.
        out: Folder for `last.weights.h5`, TensorBoard's `logs`, and the saved epochs in
            `unfinished`.
        head_epochs: Epochs at the beginning in which the layers of `HEAD` learn alone.

    Returns:
        The progress, to be removed once the network is saved. Its history has for each epoch
        `loss`, `uar`, `learning_rate` (of the first step), for NSL `scaled_graph_loss`, where
        vectors teach `taught_loss`, and `val_loss` and `val_uar` where there is a validation split.

    Raises:
        InputError: If the loss or a weight is not finite; the weights of the epoch before are then
            in `out`. Or if clips are too short for their augmentation.
    """
    leave_tf_keras()
    body = [layer for layer in network.layers if layer.name not in HEAD]
    regularized, strategy = isinstance(trained, GraphRegularization), trained.distribute_strategy
    all_clips = None
    if isinstance(trained, Taught):
        all_clips = shuffled(np.arange(len(clips.ids)))
    elif regularized and config.neighbors == "batch":
        all_clips = clips.neighborhoods()
    epochs = Epochs(
        clips,
        description,
        config,
        all_clips=all_clips,
        replicas=strategy.num_replicas_in_sync,
    )
    bank_only = None
    if regularized and config.neighbors == "bank" and len(clips.unlabelled):
        bank_only = clips.inputs(clips.unlabelled, config.batch_size)
    with strategy.scope():
        head_steps = head_epochs * epochs.steps
        rate = Delayed(learning_rate_schedule(config, epochs.steps), head_steps)
        optimizer = tf.keras.optimizers.Adam(rate)
        if config.precision == "mixed_float16":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        uar = _compile(trained, optimizer, description)
        optimizer.build(trained.trainable_variables)
    progress = Progress(
        out / "unfinished",
        network.weights,
        keep=config.keep,
        strategy=strategy,
        trained=trained,
        dropout=dropout_generators(network),
    )
    if progress.history:
        Bar.write(f"goes on after epoch {len(progress.history)} of a training that was stopped")
    scored = validation and divided(validation.dataset.batch(config.batch_size).cache())
    batches = epochs.batches(len(progress.history))
    curves = Curves(out / "logs", description.classes)
    bar = ProgressBar(epochs=config.epochs, steps=epochs.steps, done=len(progress.history))
    with closing(curves), closing(bar):
        while not _is_over(progress, config):
            epoch = len(progress.history)
            learns = epoch >= head_epochs
            if any(layer.trainable != learns for layer in body):
                for layer in body:
                    layer.trainable = learns
                with strategy.scope():
                    uar = _compile(trained, optimizer, description)  # else Keras would not notice
            try:
                fitted = trained.fit(
                    batches,
                    validation_data=scored,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    callbacks=[bar, StopAtBadLoss(epochs, epoch)],
                    verbose=0,
                )
                if bank_only is not None:
                    trained.remember(bank_only)
                measured = {name: values[0] for name, values in fitted.history.items()}
                measured.pop("val_taught_loss", None)  # those clips come without vectors
                measured["learning_rate"] = float(rate(epoch * epochs.steps))
                confusion = uar.confusion.numpy() if validation else None
                curves.write(epoch + 1, measured, confusion)
                progress.save(measured)
            except InputError as error:
                if not epoch:
                    raise
                progress.restore_last()
                save_last_weights(network, out)
                raise InputError(
                    f"{error} The weights of epoch {epoch} are in {out}; move them away to keep "
                    "them."
                ) from error
    save_last_weights(network, out)
    progress.restore_kept()
    return progress


def _compile(
    trained: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, description: Description
) -> UAR:
    """Compiles a model with the loss of labels, and returns its metric."""
    uar = UAR(len(description.classes))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(optimizer, loss, weighted_metrics=[uar])
    return uar


class Delayed(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule that begins later, with its first rate until then."""

    def __init__(
        self, schedule: tf.keras.optimizers.schedules.LearningRateSchedule, steps: int
    ) -> None:
        """Wraps a schedule.

        Args:
            schedule: The schedule.
            steps: Number of steps before it begins.
        """
        self._schedule, self._steps = schedule, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, from 0."""
        return self._schedule(tf.maximum(tf.cast(step, tf.int64) - self._steps, 0))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that it was made with."""
        return {"schedule": self._schedule, "steps": self._steps}


def _is_over(progress: Progress, config: TrainingConfig) -> bool:
    """Returns whether all epochs have been run, or too many without a better UAR."""
    done = len(progress.history)
    since_best = done - 1 - progress.best_epoch if done and config.patience else 0
    return done == config.epochs or 0 < config.patience <= since_best


class StopAtBadLoss(tf.keras.callbacks.Callback):
    """Stops an epoch when the loss is not finite."""

    def __init__(self, epochs: Epochs, epoch: int) -> None:
        """Watches an epoch.

        Args:
            epochs: Epochs of the training, to name the clips of a batch.
            epoch: Number of this epoch, from 0.
        """
        super().__init__()
        self._epochs, self._epoch = epochs, epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Checks the mean loss so far, which stays bad once it is."""
        if not math.isfinite(logs["loss"]):
            ids = ", ".join(self._epochs.ids(self._epoch, batch))
            raise InputError(
                f"training.learning_rate: the loss is {logs['loss']} in step {batch + 1} of epoch "
                f"{self._epoch + 1}, at {float(self.model.optimizer.learning_rate):.3g}; lower "
                f"the rate, or listen to the clips of this step: {ids}."
            )


def dropout_generators(network: tf.keras.Model) -> list[tf.random.Generator]:
    """Returns the random generators of dropout, which Keras leaves out of its checkpoints.

    Args:
        network: Network whose dropout layers were made with `rng_type="stateful"`; the state of
            other dropout cannot be saved.
    """
    return [
        layer._random_generator._generator
        for layer in network.layers
        if isinstance(layer, tf.keras.layers.Dropout)
    ]
