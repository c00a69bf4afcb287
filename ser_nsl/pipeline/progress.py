"""The state of a training on disk after every epoch, from which a stopped training goes on."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_nsl.errors import InputError


class Progress:
    """Weights, optimizer, kept weights and history, saved together or not at all.

    The order and the augmentation of clips are not saved: they follow from the seed and the number
    of the epoch.
    """

    def __init__(
        self,
        folder: Path,
        weights: Sequence[tf.Variable],
        *,
        keep: str,
        strategy: tf.distribute.Strategy | None = None,
        **state: Any,
    ) -> None:
        """Restores the last saved epoch where there is one.

        Args:
            folder: Folder of the saved epochs. An epoch replaces the one before when it is whole.
            weights: Weights in training.
            keep: Which epoch's weights are kept: `best` or `last`.
            strategy: The strategy of the training, if several workers share it.
            **state: Everything else that a checkpoint must hold, such as the optimizer, built.
        """
        self._folder, self._weights = folder, weights
        with tf.device("CPU"):  # GPUs need their memory for training
            self._kept = [tf.Variable(weight) for weight in weights] if keep == "best" else []
            self._history = tf.Variable("[]")
        self._checkpoint = tf.train.Checkpoint(
            weights=list(weights), kept=self._kept, history=self._history, **state
        )
        # A worker may have saved an epoch that another had not when all of them were stopped.
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(folder), max_to_keep=2 if several else 1
        )
        saved = {int(path.rsplit("-", 1)[1]): path for path in self._manager.checkpoints}
        epoch = max(saved, default=0)
        if several:
            epoch = least_of_workers(epoch, strategy)
        self.history: list[dict[str, Any]] = []
        """What was measured in each epoch."""
        if epoch:
            self._restore(saved[epoch])

    @property
    def best_epoch(self) -> int:
        """The first of the epochs with the highest `val_uar`, from 0."""
        return max(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_uar"])

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept, from 0."""
        return self.best_epoch if self._kept else len(self.history) - 1

    def save(self, measured: Mapping[str, Any]) -> None:
        """Saves an epoch.

        Args:
            measured: What was measured in it, as JSON can hold it; `val_uar` among it, if the best
                epoch is kept.

        Raises:
            InputError: If a weight is NaN or infinite, which can happen after a finite loss.
        """
        epoch = len(self.history) + 1
        if not all(np.isfinite(weight.numpy()).all() for weight in self._weights):
            raise InputError(
                f"learning_rate: weights are NaN or infinite after epoch {epoch}; choose a lower "
                "rate."
            )
        self.history.append(dict(measured))
        if self._kept and self.best_epoch == epoch - 1:
            _assign(self._kept, self._weights)
        self._history.assign(json.dumps(self.history))
        self._manager.save(checkpoint_number=epoch)

    def restore_last(self) -> None:
        """Goes back to the end of the last saved epoch."""
        self._restore(self._manager.latest_checkpoint)

    def restore_kept(self) -> None:
        """Replaces the last weights with the kept ones."""
        if self._kept:
            _assign(self._weights, self._kept)

    def remove(self) -> None:
        """Removes the saved epochs."""
        (self._folder / "checkpoint").unlink()  # first, so that a kill leaves nothing half
        shutil.rmtree(self._folder)

    def _restore(self, path: str) -> None:
        # Variables that a model makes in its first step are restored when they are made.
        self._checkpoint.restore(path).assert_existing_objects_matched()
        self.history = json.loads(self._history.numpy())


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Variable]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def least_of_workers(value: int, strategy: tf.distribute.Strategy) -> int:
    """Returns the least of the values that the workers give; each of them must call this.

    Args:
        value: The value of this worker.
        strategy: The strategy of all workers.
    """

    def gather() -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        return replica.all_gather(tf.constant([value]), axis=0)

    values = strategy.experimental_local_results(strategy.run(gather))[0]
    return int(tf.reduce_min(values))
