"""The clips of a fine-tuning: in which order, as which of their copies, and in which form."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches
from ser_nsl.upstream.augment import write_copies
from ser_nsl.upstream.frame_cache import FrameCache
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.tuner import Tuner


class Clips:
    """Training and validation clips as the tuner takes them.

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
        """Makes the copies, and computes what frozen convolutions make of everything.

        Args:
            train: Columns `utterance_id`, `emotion` and `audio`, the path.
            val: Likewise.
            config: How many copies, and the length of clips.
            tuner: Who is going to take them.
            work: Folder for copies and, where memory does not do, frames.

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
        self._read = _reader([*both["audio"], *copies], config, tuner, work)

    def training(
        self, epoch: int, random: np.random.Generator
    ) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Reads every training clip once, as it is or as one of its copies in turn.

        Args:
            epoch: From 0.
            random: Decides on the order.

        Yields:
            Ids, inputs as `Tuner.train` takes them, and labels, int32 `(clips,)`.
        """
        order = random.permutation(self.trained)
        # Clips begin with different versions, so that every epoch hears all sorts.
        first = np.random.default_rng(self._config.seed).integers(2**31, size=self.trained)
        version = (first + epoch) % (self._config.augmentations + 1)
        clip = np.arange(self.trained)
        copy = len(self._ids) + (version - 1) * self.trained + clip
        source = np.where(version == 0, clip, copy)[order]
        for start, inputs in zip(self._starts(order), self._read(source), strict=True):
            chosen = order[start : start + len(inputs)]
            yield list(self._ids[chosen]), inputs, self._labels[chosen]

    def some(self) -> np.ndarray:
        """Reads up to 500 training clips and copies, in the form that the tuner takes."""
        copies = len(self._ids) + np.arange(self._config.augmentations * self.trained)
        every = np.concatenate([np.arange(self.trained), copies])
        chosen = np.random.default_rng(self._config.seed).permutation(every)[:500]
        return np.concatenate(list(self._read(chosen)))

    def validation(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Reads every validation clip once.

        Yields:
            Inputs and labels.
        """
        chosen = np.arange(self.trained, len(self._ids))
        for start, inputs in zip(self._starts(chosen), self._read(chosen), strict=True):
            yield inputs, self._labels[chosen[start : start + len(inputs)]]

    def _starts(self, chosen: np.ndarray) -> range:
        return range(0, len(chosen), self._config.batch_size)


def _reader(
    paths: Sequence[Path], config: FineTuningConfig, tuner: Tuner, work: Path
) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
    """From indices of clips to batches of what the tuner takes."""
    samples = round(config.clip_seconds * SAMPLE_RATE_HZ)
    if config.freeze_feature_encoder:
        return FrameCache(
            paths,
            samples,
            lambda waveforms: tuner.frames(waveforms).numpy(),
            work,
            batch=config.batch_size,
        ).batches
    read = functools.partial(read_batches, samples=samples, batch=config.batch_size)
    return lambda chosen: read([paths[i] for i in chosen])
