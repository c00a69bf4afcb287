"""Embeddings of clips. Each worker process loads the upstream once."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.records import embedding_example
from ser_nsl.beam.audio import Sound
from ser_nsl.beam.dead_letters import count
from ser_nsl.beam.manifest import CorpusSummary
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embed import Embedder

SAMPLE_RATE_HZ = 16_000
_BATCH = 16


@beam.ptransform_fn
def embed(
    sounds: beam.PCollection,
    summary: beam.PCollection,
    *,
    upstream: str,
    layer: int | None,
    clip_seconds: float | None,
    window_seconds: float,
) -> beam.PCollection:
    """Embeds decoded clips, as `ser_nsl.upstream.embed.extract_embeddings` does.

    Args:
        sounds: Clips decoded at 16 kHz.
        summary: The one `CorpusSummary` of the manifest.
        upstream: Folder on any file system, or hub name, of a checkpoint.
        layer: Layer of the upstream; None for FC1.
        clip_seconds: Length of every clip; None for its own.
        window_seconds: Longest stretch of audio that the upstream gets at once.

    Returns:
        Triples `(split, (id, record))`.
    """
    return (
        sounds
        | beam.BatchElements(_BATCH, _BATCH)
        | beam.ParDo(
            _Embed(upstream, layer, clip_seconds, window_seconds), beam.pvalue.AsSingleton(summary)
        )
    )


class _Embed(beam.DoFn):
    def __init__(
        self,
        upstream: str,
        layer: int | None,
        clip_seconds: float | None,
        window_seconds: float,
    ) -> None:
        super().__init__()
        self._upstream, self._layer = upstream, layer
        self._clip_seconds, self._window_seconds = clip_seconds, window_seconds
        self._shared = Shared()  # by the threads of a worker

    def process(
        self, batch: Sequence[Sound], summary: CorpusSummary
    ) -> Iterator[tuple[str, tuple[str, bytes]]]:
        longest = summary.longest_seconds if self._clip_seconds is None else self._clip_seconds
        window = round(min(longest, self._window_seconds) * SAMPLE_RATE_HZ)
        self._embedder: Embedder = self._shared.acquire(
            lambda: _load_embedder(self._upstream, window, self._layer)
        )
        by_length: dict[int, list[Sound]] = defaultdict(list)
        for clip, waveform in batch:
            seconds = clip.seconds if self._clip_seconds is None else self._clip_seconds
            by_length[max(round(seconds * SAMPLE_RATE_HZ), window)].append((clip, waveform))
        for samples, sounds in by_length.items():
            waveforms = np.stack([fit_length(waveform, samples) for _, waveform in sounds])
            vectors = self._embedder(waveforms).numpy()
            for (clip, _), vector in zip(sounds, vectors, strict=True):
                example = embedding_example(clip.utterance_id, vector, self._embedder.name)
                count(f"embeddings of {clip.split}")
                record = example.SerializeToString(deterministic=True)
                yield clip.split, (clip.utterance_id, record)


def _load_embedder(upstream: str, window: int, layer: int | None) -> Embedder:
    with tempfile.TemporaryDirectory() as folder:
        local = upstream
        if "://" in upstream:
            local = folder
            (match,) = FileSystems.match([FileSystems.join(upstream, "*")])
            for found in match.metadata_list:
                with FileSystems.open(found.path) as file:
                    (Path(folder) / FileSystems.split(found.path)[1]).write_bytes(file.read())
        return Embedder(*load_upstream(local, needs_head=layer is None), window, layer=layer)
