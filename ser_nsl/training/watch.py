"""How a training is followed while it runs: a progress bar, and curves in TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from ser_nsl.pipeline.bars import Bar

_SHORT_NAMES = {"loss": "loss", "scaled_graph_loss": "graph", "uar": "uar", "val_uar": "val_uar"}


class ProgressBar(tf.keras.callbacks.Callback):
    """A bar over the steps of all epochs, with the time left, losses and UAR."""

    def __init__(self, *, epochs: int, steps: int, done: int) -> None:
        """Starts the bar.

        Args:
            epochs: Number of epochs of the whole training.
            steps: Number of steps in an epoch.
            done: Number of epochs that an earlier run has finished.
        """
        super().__init__()
        self._epochs, self._shown = epochs, dict[str, str]()
        self._bar = Bar(total=epochs * steps, initial=done * steps, desc="training", unit="step")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Shows the number of the epoch."""
        self._shown["epoch"] = f"{epoch + 1}/{self._epochs}"

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Moves on by a step."""
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        self._show({name: value / replicas for name, value in logs.items()})  # Keras gives sums
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Shows the result of the validation."""
        self._show(logs)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()

    def _show(self, logs: Mapping[str, float]) -> None:
        self._shown |= {
            short: f"{logs[name]:.3f}" for name, short in _SHORT_NAMES.items() if name in logs
        }
        self._bar.set_postfix(self._shown, refresh=False)


class Curves:
    """Losses, scores and confusion matrices of a training, in TensorBoard."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        """Prepares the log.

        Args:
            folder: Folder for event files, beside those of an earlier run; made with the first
                epoch.
            classes: Names of the classes in the order of the indices.
        """
        self._folder, self._classes = folder, classes
        self._writer: tf.summary.SummaryWriter | None = None

    def write(
        self, epoch: int, measured: Mapping[str, float], confusion: np.ndarray | None
    ) -> None:
        """Adds an epoch.

        Args:
            epoch: Number of the epoch, from 1.
            measured: Losses and scores, as in the history of `fit`; their names are kept.
            confusion: Confusion matrix of the validation split, counts, shape
                `(classes, classes)`, rows true, columns predicted; None without a validation
                split. It becomes a table in TensorBoard's texts.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(epoch):
            for name, value in measured.items():
                tf.summary.scalar(name, value)
            if confusion is not None:
                table = pd.DataFrame(confusion.astype(int), self._classes, self._classes)
                tf.summary.text("confusion in validation", table.to_markdown())
        self._writer.flush()

    def close(self) -> None:
        """Closes the log."""
        if self._writer is not None:
            self._writer.close()
