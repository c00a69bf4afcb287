"""What is seen of a training while it runs: a bar, and curves in TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

_SHORT_NAMES = {"loss": "loss", "scaled_graph_loss": "graph", "uar": "uar", "val_uar": "val_uar"}


class ProgressBar(tf.keras.callbacks.Callback):
    """A bar over the steps of all epochs, with time left, and losses and UAR so far beside it."""

    def __init__(self, *, epochs: int, steps: int, done: int) -> None:
        """Starts the bar.

        Args:
            epochs: Of the whole training.
            steps: Of an epoch.
            done: Epochs that an earlier run has finished.
        """
        super().__init__()
        self._epochs, self._shown = epochs, dict[str, str]()
        self._bar = tqdm(total=epochs * steps, initial=done * steps, desc="training", unit="step")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Shows the number of the epoch."""
        self._shown["epoch"] = f"{epoch + 1}/{self._epochs}"

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Moves on by a step."""
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        self._show({name: value / replicas for name, value in logs.items()})  # Keras gives sums
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Shows how the validation went."""
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
    """Losses, scores and confusions of a training, in TensorBoard."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        """Prepares the log.

        Args:
            folder: For event files, beside those of an earlier run; made with the first epoch.
            classes: Names in the order of the indices.
        """
        self._folder = folder
        self._writer: tf.summary.SummaryWriter | None = None
        self._picture = ConfusionPicture(classes)

    def write(
        self, epoch: int, measured: Mapping[str, float], confusion: np.ndarray | None
    ) -> None:
        """Adds an epoch.

        Args:
            epoch: From 1.
            measured: As in the history of `fit`.
            confusion: Of the validation split, shape `(classes, classes)`, rows true; None
                without one.
        """
        graph = measured.get("scaled_graph_loss")
        curves = {
            "loss/labels": measured["loss"] - (graph or 0),
            "loss/graph": graph,
            "loss/validation": measured.get("val_loss"),
            "uar/training": measured["uar"],
            "uar/validation": measured.get("val_uar"),
            "learning_rate": measured["learning_rate"],
        }
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(epoch):
            for name, value in curves.items():
                if value is not None:
                    tf.summary.scalar(name, value)
            if confusion is not None:
                tf.summary.image("confusion in validation", self._picture.draw(confusion)[None])
        self._writer.flush()

    def close(self) -> None:
        """Closes the log."""
        if self._writer is not None:
            self._writer.close()


class ConfusionPicture:
    """A confusion matrix drawn again and again, which is quicker than each time anew."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Draws the frame.

        Args:
            classes: Names in the order of the indices.
        """
        figure = Figure(figsize=(5, 5), dpi=100)
        axes = figure.add_axes((0.23, 0.2, 0.76, 0.76))
        size = len(classes)
        self._cells = axes.imshow(np.zeros((size, size)), cmap="Blues", vmin=0, vmax=1)
        self._counts = [
            axes.text(column, row, "", ha="center", va="center")
            for row in range(size)
            for column in range(size)
        ]
        axes.set_xticks(range(size), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), classes)
        axes.set_xlabel("recognised")
        axes.set_ylabel("true")
        self._canvas = FigureCanvasAgg(figure)

    def draw(self, counts: np.ndarray) -> np.ndarray:
        """Draws a matrix.

        Args:
            counts: Shape `(classes, classes)`, rows true.

        Returns:
            uint8, shape `(500, 500, 4)`: counts, the darker the larger their share of the row.
        """
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        self._cells.set_data(shares)
        for text, count, share in zip(self._counts, counts.flat, shares.flat, strict=True):
            text.set(text=f"{count:.0f}", color="white" if share > 0.6 else "black")
        self._canvas.draw()
        return np.array(self._canvas.buffer_rgba())
