"""The clips of a fine-tuning: their order, and their form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.upstream.frame_cache import FrameCache
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.tuner import Tuner


class Clips:
    """Training and validation clips in the form that the tuner takes.

    Attributes:
        trained: Number of training clips.
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
        """Runs frozen convolutions on all clips.

        Args:
            train: Columns `utterance_id`, `emotion` and `audio`, the path.
            val: The same columns.
            config: Length of clips and size of batches.
            tuner: The model in training.
            work: Folder for frames.

        Raises:
            InputError: If a clip cannot be read.
        """
        self.trained, self.validated = len(train), len(val)
        both = pd.concat([train, val])
        self._ids = both["utterance_id"].to_numpy()
        self._labels = both["emotion"].map(tuner.classes.index).to_numpy(np.int32)
        self._cache = FrameCache(
            list(both["audio"]),
            round(config.clip_seconds * SAMPLE_RATE_HZ),
            (lambda x: tuner.frames(x).numpy()) if config.freeze_feature_encoder else None,
            work,
            batch=config.batch_size,
        )

    def training(
        self, random: np.random.Generator
    ) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Reads every training clip once.

        Args:
            random: Source of the random order.

        Yields:
            Ids, inputs as `Tuner.train` takes them, and labels, int32 `(clips,)`.
        """
        yield from self._batches(random.permutation(self.trained))

    def validation(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Reads every validation clip once.

        Yields:
            Inputs and labels.
        """
        for _, inputs, labels in self._batches(np.arange(self.trained, len(self._ids))):
            yield inputs, labels

    def _batches(self, clips: np.ndarray) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        start = 0
        for inputs in self._cache.batches(clips):
            chosen = clips[start : start + len(inputs)]
            yield list(self._ids[chosen]), inputs, self._labels[chosen]
            start += len(inputs)
