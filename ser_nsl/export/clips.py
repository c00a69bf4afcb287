"""The clips of a split, as audio and as log Mel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio, read_batches
from ser_nsl.audio.damage import damaged_to_length
from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError

_BATCH = 16


@dataclass(frozen=True)
class Clips:
    """The clips of one split.

    Attributes:
        split: Name of the split.
        paths: Audio files.
        labels: int, shape `(clips,)`: index of the class; -1 for clips without an emotion or
            with one that the recogniser does not know.
        description: Description of the features that the recogniser was trained on.
    """

    split: str
    paths: Sequence[Path]
    labels: np.ndarray
    description: Description

    @classmethod
    def of_split(
        cls, split: str, manifest: Path, audio_dir: Path | None, description: Description
    ) -> "Clips":
        """Finds the clips of a split.

        Args:
            split: Name of the split.
            manifest: Manifest of the corpus.
            audio_dir: Audio root; None for the one recorded beside the manifest.
            description: Description of the features that the recogniser was trained on.

        Raises:
            InputError: If the split has no clip, or audio files are missing.
        """
        table = read_manifest(manifest)
        table = table[table["split"] == split]
        if table.empty:
            raise InputError(f"{manifest}: the split {split} has no clip; split the corpus again.")
        numbers = {name: number for number, name in enumerate(description.classes)}
        labels = [numbers.get(emotion, UNLABELLED) for emotion in table["emotion"]]
        return cls(split, audio_paths(table, manifest, audio_dir), np.array(labels), description)

    @classmethod
    def for_bounds(
        cls, manifest: Path, audio_dir: Path | None, description: Description
    ) -> "Clips":
        """Finds the clips that may decide about a form: never those of the test split.

        Args:
            manifest: Manifest of the corpus.
            audio_dir: Audio root; None for the one recorded beside the manifest.
            description: Description of the features that the recogniser was trained on.

        Returns:
            The clips of validation; those of training where validation has none.
        """
        splits = set(read_manifest(manifest)["split"])
        split = "val" if "val" in splits else "train"
        return cls.of_split(split, manifest, audio_dir, description)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labelled(self) -> int:
        """Number of clips with a label."""
        return int(np.count_nonzero(self.labels != UNLABELLED))

    def evenly_spaced(self, count: int) -> "Clips":
        """At most `count` of the clips, evenly spaced in the order of the manifest."""
        step = -(-len(self) // count)
        return Clips(self.split, self.paths[::step], self.labels[::step], self.description)

    def known(self) -> "Clips":
        """Those with a label."""
        known = np.flatnonzero(self.labels != UNLABELLED)
        paths = [self.paths[i] for i in known]
        return Clips(self.split, paths, self.labels[known], self.description)

    def waveforms(self, *, damaged: bool = False) -> Iterator[np.ndarray]:
        """Reads the clips in batches of float32 waveforms, shape `(batch, clip_samples)`.

        Args:
            damaged: Whether to damage each clip as training's copies are, by its place.
        """
        rate, samples = self.description.front_end.sample_rate_hz, self.description.clip_samples
        if not damaged:
            yield from read_batches(self.paths, samples, batch=_BATCH, sample_rate_hz=rate)
            return
        for start in range(0, len(self), _BATCH):
            clips = enumerate(self.paths[start : start + _BATCH], start)
            yield np.stack([damaged_clip(path, samples, rate, (row, 1)) for row, path in clips])

    def logmel_batches(self, *, damaged: bool = False) -> Iterator[tf.Tensor]:
        """Computes log Mel in dB in batches, float32, shape `(batch, frames, mels)`."""
        for waveforms in self.waveforms(damaged=damaged):
            yield log_mel(tf.constant(waveforms), self.description.front_end)

    def logmels(self) -> np.ndarray:
        """Computes the log Mel of all clips in dB, float32, shape `(clips, frames, mels)`."""
        return np.concatenate([*self.logmel_batches()])


def damaged_clip(path: Path, samples: int, sample_rate_hz: int, seed: Sequence[int]) -> np.ndarray:
    """Reads a clip damaged as in training, float32, shape `(samples,)`."""
    at_16_khz = round(samples / sample_rate_hz * SAMPLE_RATE_HZ)
    return at_rate(damaged_to_length(read_audio(path), at_16_khz, seed), samples, sample_rate_hz)


def at_rate(waveform: np.ndarray, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Resamples a waveform at 16 kHz, and brings it to a length."""
    import soxr

    if sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = soxr.resample(waveform, SAMPLE_RATE_HZ, sample_rate_hz)
    return fit_length(waveform, samples).astype(np.float32)
