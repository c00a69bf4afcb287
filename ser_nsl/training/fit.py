"""The fit loop: epochs, which weights are kept, when training stops, and where it goes on."""

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tqdm import tqdm

from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.networks.saved import save_last_weights
from ser_nsl.training.data import LabelledClips, TrainingClips
from ser_nsl.training.devices import divided
from ser_nsl.training.epochs import Epochs
from ser_nsl.training.graph_regularization import GraphRegularization
from ser_nsl.training.progress import Progress
from ser_nsl.training.schedule import learning_rate_schedule
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.watch import Curves, ProgressBar

UNFINISHED = "unfinished"


class Fitted(NamedTuple):
    """How a training went.

    Attributes:
        history: For each epoch `loss`, `uar`, `learning_rate` (of its first step), for NSL
            `scaled_graph_loss`, and `val_loss` and `val_uar` where there is a validation split.
        kept_epoch: Whose weights are in the network, from 0.
    """

    history: list[dict[str, float]]
    kept_epoch: int


def fit(
    trained: tf.keras.Model,
    network: tf.keras.Model,
    clips: TrainingClips,
    validation: LabelledClips | None,
    description: Description,
    config: TrainingConfig,
    out: Path,
) -> Fitted:
    """Runs the epochs and leaves the kept weights in the network.

    A training that was stopped goes on after its last whole epoch, and ends as one that was not.

    Args:
        trained: What is fitted: the network, or its graph-regularised wrapper.
        network: The network whose weights are kept.
        clips: To train on.
        validation: To choose the epoch on, or None.
        description: Of the features.
        config: How to train.
        out: Folder for `last.weights.h5`, TensorBoard's `logs`, and the `UNFINISHED` work.

    Returns:
        The history and the epoch kept.

    Raises:
        InputError: If the loss is not finite; the weights of the epoch before are then in `out`.
            Or if clips are too short for their augmentation.
    """
    regularized, strategy = isinstance(trained, GraphRegularization), trained.distribute_strategy
    drawn = Epochs(
        clips,
        description,
        config,
        in_neighborhoods=regularized and config.neighbors == "batch",
        replicas=strategy.num_replicas_in_sync,
    )
    unseen = None
    if regularized and config.neighbors == "bank" and len(clips.unlabelled):
        unseen = clips.inputs(clips.unlabelled, config.batch_size)
    with strategy.scope():
        uar = UAR(len(description.classes))
        rate = learning_rate_schedule(config, drawn.steps)
        optimizer = tf.keras.optimizers.Adam(rate)
        if config.precision == "mixed_float16":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        trained.compile(
            optimizer,
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=[uar],
        )
        optimizer.build(network.trainable_variables)
    progress = Progress(trained, network, out / UNFINISHED, keep=config.keep)
    if progress.history:
        tqdm.write(f"goes on after epoch {len(progress.history)} of a training that was stopped")
    scored = validation and divided(validation.dataset.batch(config.batch_size).cache())
    curves = Curves(out / "logs", description.classes)
    stop = StopAtBadLoss(network, drawn, progress, out)
    bar = ProgressBar(epochs=config.epochs, steps=drawn.steps, done=len(progress.history))
    with closing(curves), closing(bar):
        while not _is_over(progress, config):
            epoch = len(progress.history)
            fitted = trained.fit(
                drawn.batches(epoch),
                validation_data=scored,
                initial_epoch=epoch,
                epochs=epoch + 1,
                callbacks=[bar, stop],
                verbose=0,
            )
            if unseen is not None:
                trained.remember(unseen)
            measured = {name: values[0] for name, values in fitted.history.items()}
            measured["learning_rate"] = float(rate(epoch * drawn.steps))
            confusion = uar.confusion.numpy() if validation else None
            curves.write(epoch + 1, measured, confusion)
            progress.save(measured)
    save_last_weights(network, out)
    progress.restore_kept()
    return Fitted(progress.history, progress.kept_epoch)


def _is_over(progress: Progress, config: TrainingConfig) -> bool:
    """Whether all epochs have been run, or too many in vain."""
    done = len(progress.history)
    in_vain = done - 1 - progress.best_epoch if done and config.patience else 0
    return done == config.epochs or 0 < config.patience <= in_vain


class StopAtBadLoss(tf.keras.callbacks.Callback):
    """Stops where the loss is not finite, and puts the last good weights where they can be used."""

    def __init__(
        self, network: tf.keras.Model, drawn: Epochs, progress: Progress, out: Path
    ) -> None:
        """Watches a training.

        Args:
            network: What is trained.
            drawn: Its epochs, to name clips.
            progress: To go back to.
            out: Folder for `last.weights.h5`.
        """
        super().__init__()
        self._network, self._drawn, self._progress, self._out = network, drawn, progress, out

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Looks at the mean loss so far, which stays bad once it is."""
        if not math.isfinite(logs["loss"]):
            ids = self._drawn.ids(len(self._progress.history), batch)
            self._stop(f"the loss is {logs['loss']} in step {batch + 1}, with {', '.join(ids)},")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks for weights that the last step has spoilt."""
        if not self._progress.is_finite:
            self._stop("weights are NaN or infinite after the last step")

    def _stop(self, what: str) -> None:
        done = len(self._progress.history)
        message = (
            f"training.learning_rate: {what} of epoch {done + 1}, at "
            f"{float(self.model.optimizer.learning_rate):.3g}; lower it, or listen to the clips."
        )
        if done:
            self._progress.restore_last()
            save_last_weights(self._network, self._out)
            message += (
                f" The weights of epoch {done} are in {self._out}; move them away to keep them."
            )
        raise InputError(message)
