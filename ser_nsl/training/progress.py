"""How far a training has come, on disk after every epoch."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.training.devices import least_of_workers


class _History(tf.train.experimental.PythonState):
    """Losses and scores, inside the checkpoint that they belong to."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def serialize(self) -> str:
        return json.dumps(self.epochs)

    def deserialize(self, value: str) -> None:
        self.epochs = json.loads(value)


class Progress:
    """Weights, optimizer, state of dropout, kept weights and history, saved together or not at all.

    Order and augmentation of clips need no place here: they follow from the seed and the number
    of the epoch.
    """

    def __init__(
        self, trained: tf.keras.Model, network: tf.keras.Model, folder: Path, *, keep: str
    ) -> None:
        """Goes back to the last saved epoch where there is one.

        Args:
            trained: What is fitted: the network, or what it is wrapped in. Compiled, its
                optimizer built.
            network: Whose weights are kept.
            folder: Where epochs are saved; the former goes when the new one is whole.
            keep: Which epoch's weights are kept: the `best`, or the `last`.
        """
        self._network, self._history = network, _History()
        with tf.device("CPU"):  # GPUs need their memory for training
            self._kept = [tf.Variable(v) for v in network.weights] if keep == "best" else []
        self._checkpoint = tf.train.Checkpoint(
            trained=trained,
            dropout=dropout_generators(network),
            kept=self._kept,
            history=self._history,
        )
        strategy = network.distribute_strategy
        # A worker may be stopped when it has saved an epoch that another has not.
        workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(folder), max_to_keep=2 if workers else 1
        )
        saved = {int(path.rsplit("-", 1)[1]): path for path in self._manager.checkpoints}
        epochs = least_of_workers(max(saved, default=0), strategy)
        if epochs:
            self._restore(saved[epochs])

    @property
    def history(self) -> list[dict[str, float]]:
        """What was measured in each epoch."""
        return self._history.epochs

    @property
    def best_epoch(self) -> int:
        """The first of those with the best `val_uar`, from 0."""
        return max(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_uar"])

    @property
    def kept_epoch(self) -> int:
        """The best epoch, or the last one, from 0."""
        return self.best_epoch if self._kept else len(self.history) - 1

    @property
    def is_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(np.isfinite(weight.numpy()).all() for weight in self._network.weights)

    def save(self, measured: Mapping[str, float]) -> None:
        """Adds an epoch.

        Args:
            measured: In it; with `val_uar`, if the best epoch is kept.
        """
        self.history.append(dict(measured))
        if self._kept and self.best_epoch == len(self.history) - 1:
            for kept, weight in zip(self._kept, self._network.weights, strict=True):
                kept.assign(weight)
        self._manager.save(checkpoint_number=len(self.history))

    def restore_last(self) -> None:
        """Goes back to the end of the last saved epoch."""
        self._restore(self._manager.latest_checkpoint)

    def restore_kept(self) -> None:
        """Puts the kept weights in the place of the last ones."""
        if self._kept:
            self._network.set_weights([kept.numpy() for kept in self._kept])

    def _restore(self, path: str) -> None:
        # Not all consumed yet: a bank of embeddings is made in the first step.
        self._checkpoint.restore(path).assert_existing_objects_matched()


def forget(folder: Path) -> None:
    """Removes what is saved; first what points to it, so that a kill leaves nothing half.

    Args:
        folder: Of a `Progress`.
    """
    (folder / "checkpoint").unlink()
    shutil.rmtree(folder)


def dropout_generators(network: tf.keras.Model) -> list[tf.random.Generator]:
    """Finds what dropout draws from, which Keras leaves out of its checkpoints.

    Args:
        network: Its dropout layers made with `rng_type="stateful"`; others draw where no
            checkpoint reaches.
    """
    return [
        layer._random_generator._generator
        for layer in network.layers
        if isinstance(layer, tf.keras.layers.Dropout)
    ]
