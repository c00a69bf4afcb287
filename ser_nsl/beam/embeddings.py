"""Embeddings of clips. Each worker process loads the upstream once."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length
from ser_nsl.audio.examples import embedding_example
from ser_nsl.beam.audio import Sound
from ser_nsl.beam.dead_letters import count
from ser_nsl.beam.manifest import CorpusSummary
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embedder import Embedder
from ser_nsl.upstream.encoder import Pooling

_BATCH = 16


@beam.ptransform_fn
def embed(
    sounds: beam.PCollection,
    summary: beam.PCollection,
    *,
    upstream: str,
    layers: tuple[int, ...] | None,
    pooling: Pooling,
    clip_seconds: float | None,
    window_seconds: float,
) -> beam.PCollection:
    """Embeds decoded clips, as `ser_nsl.upstream.embed.extract_embeddings` does.

    Args:
        sounds: Clips decoded at 16 kHz.
        summary: The one `CorpusSummary` of the manifest.
        upstream: Folder on any file system, or hub name, of a checkpoint.
        layers: Layers of the upstream; None for FC1.
        pooling: Of their frames over time.
        clip_seconds: Length of every clip; None for its own.
        window_seconds: Longest stretch of audio that the upstream gets at once.

    Returns:
        Pairs of split and record.
    """
    one_summary = beam.pvalue.AsSingleton(summary)
    shared = Shared()  # by the threads of a worker
    settings = (upstream, layers, pooling, clip_seconds, window_seconds)
    return (
        sounds
        | beam.BatchElements(_BATCH, _BATCH)
        | beam.FlatMap(_embed_batch, one_summary, shared, *settings)
    )


def _embed_batch(
    batch: Sequence[Sound],
    summary: CorpusSummary,
    shared: Shared,
    upstream: str,
    layers: tuple[int, ...] | None,
    pooling: Pooling,
    clip_seconds: float | None,
    window_seconds: float,
) -> Iterator[tuple[str, bytes]]:
    longest = summary.longest() if clip_seconds is None else clip_seconds
    window = round(min(longest, window_seconds) * SAMPLE_RATE_HZ)
    embedder: Embedder = shared.acquire(partial(_load_embedder, upstream, window, layers, pooling))
    by_length: dict[int, list[Sound]] = defaultdict(list)
    for clip, waveform in batch:
        seconds = clip.seconds if clip_seconds is None else clip_seconds
        by_length[max(round(seconds * SAMPLE_RATE_HZ), window)].append((clip, waveform))
    for samples, sounds in by_length.items():
        waveforms = np.stack([fit_length(waveform, samples) for _, waveform in sounds])
        for (clip, _), vector in zip(sounds, embedder(waveforms).numpy(), strict=True):
            example = embedding_example(clip.utterance_id, vector, embedder.name)
            count(f"embeddings of {clip.split}")
            yield clip.split, example.SerializeToString(deterministic=True)


def _load_embedder(
    upstream: str, window: int, layers: tuple[int, ...] | None, pooling: Pooling
) -> Embedder:
    with tempfile.TemporaryDirectory() as folder:
        local = upstream
        if "://" in upstream:
            local = folder
            (match,) = FileSystems.match([FileSystems.join(upstream, "*")])
            for found in match.metadata_list:
                with FileSystems.open(found.path) as file:
                    (Path(folder) / FileSystems.split(found.path)[1]).write_bytes(file.read())
        return Embedder(load_upstream(local), window, layers=layers, pooling=pooling)
