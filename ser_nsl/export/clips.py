"""Clips of a manifest as a recogniser hears them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.audio.clip import read_batches
from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.records import UNLABELLED
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError

_BATCH = 16


@dataclass(frozen=True)
class Clips:
    """Clips of one split.

    Attributes:
        paths: Of the audio.
        labels: int, shape `(clips,)`: index of the class; -1 for no emotion, or one that the
            recogniser does not know.
        description: Of the features that the recogniser was trained on.
    """

    paths: Sequence[Path]
    labels: np.ndarray
    description: Description

    @classmethod
    def of_split(
        cls, split: str, manifest: Path, audio_dir: Path | None, description: Description
    ) -> "Clips":
        """Finds the clips of a split.

        Args:
            split: Which.
            manifest: Where they stand.
            audio_dir: Audio root; None for the one recorded beside the manifest.
            description: Of the features that the recogniser was trained on.

        Raises:
            InputError: If the split has no clip.
        """
        table = read_manifest(manifest)
        table = table[table["split"] == split]
        if table.empty:
            raise InputError(
                f"{manifest}: the split {split} has no clip; choose another with --split."
            )
        numbers = {name: number for number, name in enumerate(description.classes)}
        labels = [numbers.get(emotion, UNLABELLED) for emotion in table["emotion"]]
        return cls(audio_paths(table, manifest, audio_dir), np.array(labels), description)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labelled(self) -> "Clips":
        """Those with a label."""
        rows = np.flatnonzero(self.labels != UNLABELLED)
        paths = [self.paths[row] for row in rows]
        return Clips(paths, self.labels[rows], self.description)

    def spread(self, most: int) -> "Clips":
        """At most so many of them, evenly spread."""
        step = -(-len(self) // most)
        return Clips(self.paths[::step], self.labels[::step], self.description)

    def waveforms(self) -> Iterator[np.ndarray]:
        """Batches of waveforms, float32, shape `(batch, clip_samples)`."""
        return read_batches(
            self.paths,
            self.description.clip_samples,
            batch=_BATCH,
            sample_rate_hz=self.description.front_end.sample_rate_hz,
        )

    def logmels(self) -> np.ndarray:
        """Log Mel in dB, float32, shape `(clips, frames, mels)`."""
        front_end = self.description.front_end
        batches = [log_mel(tf.constant(each), front_end) for each in self.waveforms()]
        return np.concatenate([np.empty((0, *self.description.logmel_shape), np.float32), *batches])
