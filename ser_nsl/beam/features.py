"""Log Mel records, and the description that goes with them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.features import Description, Moments
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.records import UNLABELLED, feature_example
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.audio import Sound
from ser_nsl.beam.letters import count
from ser_nsl.beam.manifest import Summary
from ser_nsl.errors import InputError

_BATCH = 16
_TRAINING = "training"  # tag of the log Mel of the training split


class ExtractFeatures(beam.PTransform):
    """Computes log Mel of decoded clips.

    It returns triples of split, id and record, and the description as one text of JSON. Mean and
    deviation of the bands are sums, combined on the workers first.
    """

    def __init__(
        self, front_end: FrontEndConfig, clip_seconds: float | None, summary: beam.PCollection
    ) -> None:
        """Sets how.

        Args:
            front_end: Window, hop and bands.
            clip_seconds: Length of every clip, None for that of the longest.
            summary: The manifest's one `Summary`.
        """
        super().__init__()
        self._settings = front_end, clip_seconds
        self._summary = beam.pvalue.AsSingleton(summary)

    @no_annotations
    def expand(
        self, sounds: beam.PCollection[Sound]
    ) -> tuple[beam.PCollection[tuple[str, tuple[str, bytes]]], beam.PCollection[str]]:
        """Takes decoded clips; returns pairs of split and keyed record, and the description."""
        made = (
            sounds
            | beam.BatchElements(_BATCH, _BATCH)
            | beam.ParDo(_Compute(*self._settings), self._summary).with_outputs(
                _TRAINING, main="records"
            )
        )
        description = (
            made[_TRAINING]
            | beam.CombineGlobally(_MomentsFn(self._settings[0].mel_bins))
            | beam.Map(_describe, self._summary, *self._settings)
        )
        return made["records"], description


def clip_samples(summary: Summary, front_end: FrontEndConfig, clip_seconds: float | None) -> int:
    """Length of every clip in samples.

    Raises:
        InputError: If that is less than a window.
    """
    seconds = summary.longest_seconds if clip_seconds is None else clip_seconds
    samples = round(seconds * front_end.sample_rate_hz)
    if front_end.frames(samples) < 1:
        raise InputError(
            f"clip_seconds: must hold one window of {front_end.window_samples} samples; received "
            f"{seconds} s, that is {samples} samples."
        )
    return samples


class _Compute(beam.DoFn):
    def __init__(self, front_end: FrontEndConfig, clip_seconds: float | None) -> None:
        super().__init__()
        self._front_end, self._clip_seconds = front_end, clip_seconds

    def setup(self) -> None:
        front_end = self._front_end
        self._log_mel = tf.function(
            lambda waveforms: log_mel(waveforms, front_end), reduce_retracing=True
        )

    def process(
        self, batch: Sequence[Sound], summary: Summary
    ) -> Iterator[tuple[str, tuple[str, bytes]]]:
        samples = clip_samples(summary, self._front_end, self._clip_seconds)
        labels = {emotion: i for i, emotion in enumerate(summary.classes())} | {"": UNLABELLED}
        waveforms = np.stack([fit_length(waveform, samples) for _, waveform in batch])
        for (clip, _), logmel in zip(batch, self._log_mel(waveforms).numpy(), strict=True):
            example = feature_example(clip.utterance_id, logmel, labels[clip.emotion])
            count(f"features of {clip.split}")
            yield clip.split, (clip.utterance_id, example.SerializeToString(deterministic=True))
            if clip.split == "train":
                yield beam.pvalue.TaggedOutput(_TRAINING, logmel)  # type: ignore[misc]  # not main


class _MergingMoments(Moments):
    """Moments that several workers gather."""

    @property
    def frames(self) -> int:
        return self._frames

    def merge(self, other: "_MergingMoments") -> None:
        self._frames += other._frames
        self._sum += other._sum
        self._squares += other._squares


class _MomentsFn(beam.CombineFn):
    def __init__(self, mel_bins: int) -> None:
        super().__init__()
        self._mel_bins = mel_bins

    def create_accumulator(self) -> _MergingMoments:
        return _MergingMoments(self._mel_bins)

    def add_input(self, accumulator: _MergingMoments, logmel: np.ndarray) -> _MergingMoments:
        accumulator.update(logmel)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_MergingMoments]) -> _MergingMoments:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: _MergingMoments) -> _MergingMoments:
        return accumulator


def _describe(
    moments: _MergingMoments,
    summary: Summary,
    front_end: FrontEndConfig,
    clip_seconds: float | None,
) -> str:
    if not moments.frames:
        raise InputError(
            "manifest: no clip of the training split could be used; see why in the dead letters, "
            "which name every clip, or decode one by hand."
        )
    samples = clip_samples(summary, front_end, clip_seconds)
    description = Description(front_end, samples, summary.classes(), *moments.result())
    return json.dumps(asdict(description), indent=1)
