"""The clips of a fine-tuning: their order, their altered copies, and their form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.upstream.copies import write_copies
from ser_nsl.upstream.frame_cache import FrameCache
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.tuner import Tuner


class Clips:
    """Training and validation clips in the form that the tuner takes.

    Attributes:
        trained: Number of training clips, without their copies.
        validated: Number of validation clips.
    """

    def __init__(
        self,
        train: pd.DataFrame,
        val: pd.DataFrame,
        config: FineTuningConfig,
        tuner: Tuner,
        work: Path,
    ) -> None:
        """Writes the copies, and runs frozen convolutions on all clips.

        Args:
            train: Columns `utterance_id`, `emotion` and `audio`, the path.
            val: The same columns.
            config: Number of copies, and length of clips.
            tuner: The model in training.
            work: Folder for copies and frames.

        Raises:
            InputError: If a clip cannot be read.
        """
        self.trained, self.validated = len(train), len(val)
        both = pd.concat([train, val])
        self._ids = both["utterance_id"].to_numpy()
        self._labels = both["emotion"].map(tuner.classes.index).to_numpy(np.int32)
        self._config = config
        copies = write_copies(
            list(train["audio"]),
            list(train["utterance_id"]),
            work / "copies",
            copies=config.augmentations,
            seed=config.seed,
        )
        self._cache = FrameCache(
            [*both["audio"], *copies],
            round(config.clip_seconds * SAMPLE_RATE_HZ),
            (lambda x: tuner.frames(x).numpy()) if config.freeze_feature_encoder else None,
            work,
            batch=config.batch_size,
        )

    def training(
        self, epoch: int, random: np.random.Generator
    ) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Reads every training clip once, the original or one of its copies, in turn.

        Args:
            epoch: Number of the epoch, from 0.
            random: Source of the random order.

        Yields:
            Ids, inputs as `Tuner.train` takes them, and labels, int32 `(clips,)`.
        """
        order = random.permutation(self.trained)
        # Clips begin with different versions, so that every epoch has originals and copies.
        first = np.random.default_rng(self._config.seed).integers(2**31, size=self.trained)
        version = (first + epoch) % (self._config.augmentations + 1)
        clip = np.arange(self.trained)
        copy = len(self._ids) + (version - 1) * self.trained + clip
        source = np.where(version == 0, clip, copy)
        yield from self._batches(order, source[order])

    def validation(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Reads every validation clip once.

        Yields:
            Inputs and labels.
        """
        chosen = np.arange(self.trained, len(self._ids))
        for _, inputs, labels in self._batches(chosen, chosen):
            yield inputs, labels

    def _batches(
        self, clips: np.ndarray, source: np.ndarray
    ) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Yields ids, inputs and labels of clips, each read from its source."""
        start = 0
        for inputs in self._cache.batches(source):
            chosen = clips[start : start + len(inputs)]
            yield list(self._ids[chosen]), inputs, self._labels[chosen]
            start += len(inputs)
