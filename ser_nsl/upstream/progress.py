"""How far a training has come, on disk after every epoch."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from transformers.modeling_tf_utils import keras

from ser_nsl.errors import InputError


class _History(tf.train.experimental.PythonState):
    """Losses and scores, inside the checkpoint that they belong to."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    def serialize(self) -> str:
        return json.dumps(self.epochs)

    def deserialize(self, value: str) -> None:
        self.epochs = json.loads(value)


def check_finite(weights: Sequence[tf.Variable], where: str, learning_rate: float) -> None:
    """Refuses weights that a finite loss has spoilt, before they are saved as good ones.

    Args:
        weights: What is in training.
        where: Which part of the training, for the message.
        learning_rate: Its rate.

    Raises:
        InputError: If a weight is NaN or infinite.
    """
    if not all(np.isfinite(weight.numpy()).all() for weight in weights):
        raise InputError(
            f"config.learning_rate: weights are NaN or infinite after {where}, at {learning_rate}; "
            "choose a lower rate. The epoch before is kept: run again to go on from it."
        )


class Progress:
    """Weights, optimizer, the kept weights and the history, saved together or not at all.

    Random numbers need no place here: they follow from the seed and the number of the epoch.
    """

    def __init__(
        self,
        weights: Sequence[tf.Variable],
        optimizer: keras.optimizers.Optimizer,
        folder: Path,
        *,
        keep: str,
    ) -> None:
        """Goes back to the last saved epoch where there is one.

        Args:
            weights: What is in training.
            optimizer: Its optimizer, built.
            folder: Where epochs are saved; the former goes when the new one is whole.
            keep: Which epoch's weights are kept: the `best`, or the `last`.
        """
        self._weights, self._history = weights, _History()
        with tf.device("CPU"):  # GPUs need their memory for training
            self._kept = [tf.Variable(v) for v in weights] if keep == "best" else []
        self._checkpoint = tf.train.Checkpoint(
            weights=self._weights, optimizer=optimizer, kept=self._kept, history=self._history
        )
        self._folder = folder
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=1)
        if self._manager.latest_checkpoint:
            self.restore_last()

    @property
    def history(self) -> list[dict[str, Any]]:
        """For each epoch `loss` and `val_uar`, which is None without a validation split."""
        return self._history.epochs

    @property
    def kept_epoch(self) -> int:
        """The first of the best epochs, or the last one, from 0."""
        if self._kept:
            return max(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_uar"])
        return len(self.history) - 1

    def save(self, loss: float, uar: float | None) -> None:
        """Adds an epoch.

        Args:
            loss: Its mean loss.
            uar: Its unweighted average recall on the validation split, if there is one.
        """
        self.history.append({"loss": loss, "val_uar": uar})
        if self.kept_epoch == len(self.history) - 1:
            for kept, weight in zip(self._kept, self._weights, strict=bool(self._kept)):
                kept.assign(weight)
        self._manager.save()

    def restore_last(self) -> None:
        """Goes back to the end of the last epoch."""
        self._checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()

    def restore_kept(self) -> None:
        """Puts the kept weights in the place of the last ones."""
        for kept, weight in zip(self._kept, self._weights, strict=bool(self._kept)):
            weight.assign(kept)

    def forget(self) -> None:
        """Removes what is saved; first what points to it, so that a kill leaves nothing half."""
        (self._folder / "checkpoint").unlink()
        shutil.rmtree(self._folder)
