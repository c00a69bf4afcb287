"""What the epochs of a training show: clips in an order, weighed and altered."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.training.augment import augmented, check_lengths
from ser_nsl.training.data import TrainingClips
from ser_nsl.training.devices import divided
from ser_nsl.training.orders import epoch_order, shuffled
from ser_nsl.training.settings import TrainingConfig


class Epochs:
    """The batches of every epoch, which follow from the seed and its number.

    Attributes:
        steps: Batches of an epoch.
    """

    steps: int

    def __init__(
        self,
        clips: TrainingClips,
        description: Description,
        config: TrainingConfig,
        *,
        in_neighborhoods: bool,
        replicas: int,
    ) -> None:
        """Plans the epochs.

        Args:
            clips: To train on.
            description: Of the features.
            config: Size of batches, augmentation, seed.
            in_neighborhoods: Whether neighbours meet in a batch, for which all clips are shown,
                not only those with a label. Batches grow with those without, so that a step has
                as many labels, and an epoch as many steps, as without them.
            replicas: Devices that share a batch. Where there are several, every batch is full, so
                that their shares are equal, and epochs of one pass go on into the next.

        Raises:
            InputError: If clips are too short for their augmentation.
        """
        check_lengths(config.augmentation, description)
        self._clips, self._description, self._config = clips, description, config
        self._one_pass = clips.neighborhoods() if in_neighborhoods else shuffled(clips.labelled)
        self._count = len(clips.ids) if in_neighborhoods else len(clips.labelled)
        self._size = config.batch_size
        if in_neighborhoods:
            steps = math.ceil(len(clips.labelled) / config.batch_size)
            self._size = replicas * math.ceil(self._count / steps / replicas)
        self.steps = config.epoch_steps or math.ceil(self._count / self._size)
        self._full_steps = self.steps if config.epoch_steps or replicas > 1 else 0
        self._class_weights = None
        if config.class_weights == "balanced":
            labels = clips.labels[clips.labelled]
            self._class_weights = balanced_weights(labels, len(description.classes))

    def batches(self, epoch: int) -> tf.data.Dataset:
        """Makes the batches of an epoch.

        Args:
            epoch: From 0.

        Returns:
            Elements `(inputs, label, weight)`.
        """
        batches = self._clips.batches(
            self._one_pass,
            self._size,
            seed=self._config.seed,
            steps=self._full_steps,
            class_weights=self._class_weights,
            first_epoch=epoch,
        ).apply(tf.data.experimental.assert_cardinality(self.steps))
        augmentation, seed = self._config.augmentation, self._config.seed
        return divided(augmented(batches, self._description, augmentation, seed=seed, epoch=epoch))

    def ids(self, epoch: int, step: int) -> Sequence[str]:
        """Names the clips of a batch.

        Args:
            epoch: From 0.
            step: From 0.
        """
        size = self._size
        order = epoch_order(
            self._one_pass,
            epoch,
            clips=self._count,
            length=self._full_steps * size or self._count,
            seed=self._config.seed,
        )
        return [self._clips.ids[row] for row in order[step * size :][:size]]


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weighs clips so that each class counts alike, and the mean clip as without weights.

    Args:
        labels: int, shape `(clips,)`, all known.
        classes: Number of classes.

    Returns:
        float32, shape `(classes,)`: clips / (classes that have any * clips of the class); 0 for a
        class without any.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = np.zeros(classes, np.float32)
    weights[counts > 0] = len(labels) / (np.count_nonzero(counts) * counts[counts > 0])
    return weights
