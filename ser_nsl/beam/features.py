"""Log Mel records, and the description that goes with them."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.examples import UNLABELLED, feature_example
from ser_nsl.audio.features import Description, Moments
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam.audio import Sound
from ser_nsl.beam.dead_letters import count
from ser_nsl.beam.manifest import CorpusSummary
from ser_nsl.errors import InputError

_BATCH = 16
_MOMENTS = "moments"  # tag of those of the training clips


@beam.ptransform_fn
def compute_features(
    sounds: beam.PCollection,
    summary: beam.PCollection,
    *,
    front_end: FrontEndConfig,
    clip_seconds: float | None,
) -> tuple[beam.PCollection, beam.PCollection]:
    """Computes the log Mel of decoded clips.

    Mean and deviation of the bands are sums, which workers combine before they send them.

    Args:
        sounds: Clips decoded at the rate of the front end.
        summary: The one `CorpusSummary` of the manifest.
        front_end: Window, hop and bands.
        clip_seconds: Length of every clip; None for that of the longest training clip.

    Returns:
        Pairs of split and record, and the description as one JSON text.
    """
    one_summary = beam.pvalue.AsSingleton(summary)
    outputs = (
        sounds
        | beam.BatchElements(_BATCH, _BATCH)
        | beam.FlatMap(_compute_batch, one_summary, front_end, clip_seconds)
        .with_output_types(tuple[str, bytes])
        .with_outputs(_MOMENTS, main="records")
    )
    description = (
        outputs[_MOMENTS]
        | beam.CombineGlobally(functools.partial(_merge, mel_bins=front_end.mel_bins))
        | beam.Map(_describe, one_summary, front_end, clip_seconds)
    )
    return outputs["records"], description


def clip_samples(
    summary: CorpusSummary, front_end: FrontEndConfig, clip_seconds: float | None
) -> int:
    """Length of every clip in samples.

    Raises:
        InputError: If that is less than a window, or would stretch all clips.
    """
    return front_end.clip_samples(summary.longest() if clip_seconds is None else clip_seconds)


def _compute_batch(
    batch: Sequence[Sound],
    summary: CorpusSummary,
    front_end: FrontEndConfig,
    clip_seconds: float | None,
) -> Iterator[Any]:
    samples = clip_samples(summary, front_end, clip_seconds)
    labels = {emotion: i for i, emotion in enumerate(summary.classes())} | {"": UNLABELLED}
    waveforms = np.stack([fit_length(waveform, samples) for _, waveform in batch])
    logmels = _compiled_log_mel(front_end)(waveforms).numpy()
    for (clip, _), logmel in zip(batch, logmels, strict=True):
        example = feature_example(clip.utterance_id, logmel, labels[clip.emotion])
        count(f"features of {clip.split}")
        yield clip.split, example.SerializeToString(deterministic=True)
        if clip.split == "train":
            moments = Moments(front_end.mel_bins)
            moments.update(logmel)
            yield beam.pvalue.TaggedOutput(_MOMENTS, moments)


@functools.cache
def _compiled_log_mel(front_end: FrontEndConfig) -> Callable[[np.ndarray], tf.Tensor]:
    return tf.function(lambda waveforms: log_mel(waveforms, front_end), reduce_retracing=True)


def _merge(parts: Iterable[Moments], mel_bins: int) -> Moments:
    merged = Moments(mel_bins)
    for part in parts:
        for name, value in vars(part).items():  # sums, all of them
            setattr(merged, name, getattr(merged, name) + value)
    return merged


def _describe(
    moments: Moments, summary: CorpusSummary, front_end: FrontEndConfig, clip_seconds: float | None
) -> str:
    with np.errstate(invalid="ignore"):
        mean, deviation = moments.result()
    if not np.isfinite(mean).all():
        raise InputError(
            "manifest: no clip of the training split could be used; the dead letters say why of "
            "each clip."
        )
    samples = clip_samples(summary, front_end, clip_seconds)
    description = Description(front_end, samples, summary.classes(), mean, deviation)
    return json.dumps(asdict(description), indent=1)
