"""The batches of every epoch: clips in an order, weighted and augmented."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from sklearn.utils import compute_class_weight

from ser_nsl.audio.features import Description
from ser_nsl.training.augment import augmented, check_lengths
from ser_nsl.training.data import TrainingClips
from ser_nsl.training.devices import divided
from ser_nsl.training.orders import OnePass, epoch_order, shuffled
from ser_nsl.training.settings import TrainingConfig


class Epochs:
    """The batches of every epoch, which follow from the seed and the number of the epoch.

    Attributes:
        steps: Number of batches in an epoch.
    """

    steps: int

    def __init__(
        self,
        clips: TrainingClips,
        description: Description,
        config: TrainingConfig,
        *,
        all_clips: OnePass | None = None,
        replicas: int = 1,
    ) -> None:
        """Plans the epochs.

        Args:
            clips: Clips to train on.
            description: Description of the features.
            config: Batch size, class weights, augmentation, seed.
            all_clips: Draws orders of all clips, labelled or not; None trains on labelled ones
                only. Batches are then larger by the unlabelled clips, so that a step has as many
                labels, and an epoch as many steps, as without them; unless no clip has a label.
            replicas: Number of devices that share a batch. With several, every batch is full, so
                that their shares are equal, and an epoch may end within a pass over the clips.

        Raises:
            InputError: If clips are too short for their augmentation.
        """
        check_lengths(config.augmentation, description)
        self._clips, self._description, self._config = clips, description, config
        self._one_pass = all_clips or shuffled(clips.labelled)
        self._count = len(clips.labelled) if all_clips is None else len(clips.ids)
        self._size = config.batch_size
        if all_clips is not None and len(clips.labelled):
            steps = math.ceil(len(clips.labelled) / config.batch_size)
            self._size = replicas * math.ceil(self._count / steps / replicas)
        self.steps = config.epoch_steps or math.ceil(self._count / self._size)
        self._full_steps = self.steps if config.epoch_steps or replicas > 1 else 0
        self._class_weights = None
        if config.class_weights == "balanced":
            labels = clips.labels[clips.labelled]
            present = np.unique(labels)
            self._class_weights = np.zeros(len(description.classes), np.float32)
            self._class_weights[present] = compute_class_weight(
                "balanced", classes=present, y=labels
            )

    def batches(self, first_epoch: int) -> tf.data.Dataset:
        """Returns the batches of an epoch; every iteration over them is the next epoch.

        Args:
            first_epoch: Number of the first epoch, from 0.

        Returns:
            Elements `(inputs, label, weight)`.
        """
        batches = self._clips.batches(
            self._one_pass,
            self._size,
            seed=self._config.seed,
            steps=self._full_steps,
            class_weights=self._class_weights,
            first_epoch=first_epoch,
        ).apply(tf.data.experimental.assert_cardinality(self.steps))
        return divided(
            augmented(
                batches,
                self._description,
                self._config.augmentation,
                seed=self._config.seed,
                first_epoch=first_epoch,
            )
        )

    def ids(self, epoch: int, step: int) -> Sequence[str]:
        """Returns the ids of the clips of a batch.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the batch, from 0.
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
