"""Embeddings of clips. Each worker process loads the upstream once."""

import tempfile
import threading
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
from ser_nsl.beam.letters import count
from ser_nsl.beam.manifest import Summary
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embed import Embedder

SAMPLE_RATE_HZ = 16_000
_BATCH = 16


class ExtractEmbeddings(beam.PTransform):
    """Embeds decoded clips: pairs of split and keyed record."""

    def __init__(
        self,
        upstream: str,
        *,
        layer: int | None,
        clip_seconds: float | None,
        window_seconds: float,
        summary: beam.PCollection,
    ) -> None:
        """Sets how; see `ser_nsl.upstream.embed.extract_embeddings`.

        Args:
            upstream: Folder on any file system, or hub name, of a checkpoint.
            layer: None for FC1.
            clip_seconds: Length of every clip, None for its own.
            window_seconds: Longest stretch of audio that the upstream sees at once.
            summary: The manifest's one `Summary`.
        """
        super().__init__()
        self._embed = _Embed(upstream, layer, clip_seconds, window_seconds)
        self._summary = beam.pvalue.AsSingleton(summary)

    def expand(
        self, sounds: beam.PCollection[Sound]
    ) -> beam.PCollection[tuple[str, tuple[str, bytes]]]:
        """Takes clips decoded at 16 kHz."""
        return sounds | beam.BatchElements(_BATCH, _BATCH) | beam.ParDo(self._embed, self._summary)


class _Upstream:
    """A loaded checkpoint, and its embedder as soon as the window is known."""

    def __init__(self, name_or_dir: str, layer: int | None) -> None:
        self._layer = layer
        self._lock = threading.Lock()
        with tempfile.TemporaryDirectory() as folder:
            local = _local_copy(name_or_dir, Path(folder))
            self._loaded = load_upstream(local, needs_head=layer is None)
        self._embedder: Embedder | None = None

    def embedder(self, window: int) -> Embedder:
        with self._lock:
            if self._embedder is None:
                self._embedder = Embedder(*self._loaded, window, layer=self._layer)
            return self._embedder


def _local_copy(name_or_dir: str, folder: Path) -> str:
    """Fetches a checkpoint from a remote file system; others are what and where they are."""
    if "://" not in name_or_dir:
        return name_or_dir
    (match,) = FileSystems.match([FileSystems.join(name_or_dir, "*")])
    for file in match.metadata_list:
        with FileSystems.open(file.path) as opened:
            (folder / FileSystems.split(file.path)[1]).write_bytes(opened.read())
    return str(folder)


class _Embed(beam.DoFn):
    def __init__(
        self,
        upstream: str,
        layer: int | None,
        clip_seconds: float | None,
        window_seconds: float,
    ) -> None:
        super().__init__()
        self._name_or_dir, self._layer = upstream, layer
        self._clip_seconds, self._window_seconds = clip_seconds, window_seconds
        self._shared = Shared()  # among the threads of a worker

    def setup(self) -> None:
        self._upstream = self._shared.acquire(lambda: _Upstream(self._name_or_dir, self._layer))

    def process(
        self, batch: Sequence[Sound], summary: Summary
    ) -> Iterator[tuple[str, tuple[str, bytes]]]:
        longest = summary.longest_seconds if self._clip_seconds is None else self._clip_seconds
        window = round(min(longest, self._window_seconds) * SAMPLE_RATE_HZ)
        embedder = self._upstream.embedder(window)
        by_length: dict[int, list[Sound]] = defaultdict(list)
        for clip, waveform in batch:
            seconds = clip.seconds if self._clip_seconds is None else self._clip_seconds
            by_length[max(round(seconds * SAMPLE_RATE_HZ), window)].append((clip, waveform))
        for samples, sounds in by_length.items():
            waveforms = np.stack([fit_length(waveform, samples) for _, waveform in sounds])
            for (clip, _), vector in zip(sounds, embedder(waveforms).numpy(), strict=True):
                example = embedding_example(clip.utterance_id, vector, embedder.name)
                count(f"embeddings of {clip.split}")
                record = example.SerializeToString(deterministic=True)
                yield clip.split, (clip.utterance_id, record)
