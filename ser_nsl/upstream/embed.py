"""The stage from clips of the target corpus to embeddings.

Clips are divided into windows of one length, so nothing is padded: checkpoints normalise over time,
and padding would make an embedding depend on the other clips of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches
from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.settings import LONGEST_SECONDS
from ser_nsl.audio.shards import ShardWriter, whole_examples
from ser_nsl.corpora.manifest import audio_paths, longest_training_clip, read_manifest
from ser_nsl.errors import InputError, check_least
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.encoder import Pooling

if TYPE_CHECKING:
    import tensorflow as tf

    from ser_nsl.upstream.embedder import Embedder


@stage(inputs=("manifest", "audio_dir", "upstream", "source"), makes="folder", resumes=True)
def extract_embeddings(
    *,
    manifest: Path,
    upstream: str,
    out: Path,
    audio_dir: Path | None = None,
    layers: tuple[int, ...] | Literal["auto"] | None = None,
    pooling: Pooling = "statistics",
    source: Path | None = None,
    clip_seconds: float | None = None,
    window_seconds: float = 30.0,
    splits: tuple[Literal["train", "val", "test"], ...] = ("train",),
    batch_size: int | None = None,
    shards: int = 4,
) -> Mapping[str, Any]:
    """Embeds clips by an upstream: FC1 of its emotion head, or frames of its layers over time.

    An embedding does not depend on the other clips of its batch. A killed run, started again,
    resumes where it was and ends with the same bytes.

    Args:
        manifest: Manifest of the target corpus.
        upstream: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper.
        out: Folder for `{split}-00000-of-00004.tfrecord`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        layers: Numbers of the encoder's layers, whose pooled frames stand side by side: 0 is the
            transformer's input, 1 and more the output of that layer. `auto` chooses them by a
            linear classifier on the validation speakers of `source`. By default FC1, 256 numbers,
            for which the upstream needs an emotion head.
        pooling: Of the layers' frames over time: `statistics`, mean and deviation, or `mean`. FC1
            has its own.
        source: Manifest of a labelled corpus with training and validation split, for `auto`.
        clip_seconds: Length to which every clip is cut or repeated, in seconds; by default none
            is cut, and short ones are repeated to the longest training clip or to one window.
        window_seconds: Length of the longest window that the upstream processes at once, in
            seconds. The embedding of a longer clip is the mean over the fewest windows that cover
            it.
        splits: Splits to embed; the graph needs `train` only, the methods add, max and avg need
            all.
        batch_size: Windows per step; by default one minute of audio. It changes only speed and
            memory.
        shards: Files per split.

    Returns:
        Number of clips of each split, number of clips in several windows, the width of an
        embedding, and the name of the upstream: its hash, the layers and the pooling.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, the checkpoint lacks a layer,
            clips or windows are too short or long for it, or a split has no clip.

    Example:
        >>> made = extract_embeddings(
        ...     manifest=Path("manifest.csv"), upstream="upstream", out=Path("embedded"),
        ...     layers=(1,),
        ... )
        >>> made.counts["train"], made.counts["width"]
        (12, 32)
    """
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.choose import choose_layers
    from ser_nsl.upstream.embedder import Embedder

    check_least(1, batch_size=batch_size, shards=shards)
    if (layers == "auto") != (source is not None):
        raise InputError(
            "source: is the corpus on which layers auto chooses, and only that; received layers "
            f"{layers} and source {source}."
        )
    table = read_manifest(manifest)
    seconds = clip_seconds
    if seconds is None:
        seconds = longest_training_clip(table, source=manifest)["duration_seconds"]
    if not (0 < seconds <= LONGEST_SECONDS and 0 < window_seconds <= LONGEST_SECONDS):
        raise InputError(
            f"clip_seconds, window_seconds: must be above 0, and {LONGEST_SECONDS} s at most; "
            f"received {seconds} s and {window_seconds} s."
        )
    window = round(min(seconds, window_seconds) * SAMPLE_RATE_HZ)
    missing = [split for split in splits if split not in set(table["split"])]
    if missing:
        raise InputError(f"splits: {manifest} has no clip in {', '.join(missing)}.")
    lengths = table["duration_seconds"] if clip_seconds is None else clip_seconds
    table["samples"] = np.maximum(np.round(lengths * SAMPLE_RATE_HZ).astype(int), window)
    table = table[table["split"].isin(splits)]
    long = table[table["samples"] > window]
    loaded = load_upstream(upstream)
    if layers == "auto":
        assert source is not None
        layers = choose_layers(loaded, source, pooling)
    embedder = Embedder(loaded, window, layers=layers, pooling=pooling, batch_size=batch_size)
    table = table.assign(audio=audio_paths(table, manifest, audio_dir))
    if len(long):
        Bar.write(
            f"{len(long)} of {len(table)} clips are longer than {window / SAMPLE_RATE_HZ:g} s; "
            "their embedding is the mean over windows of this length"
        )
    counts: dict[str, int] = {}
    with Bar(total=len(table), desc="embedding", unit="clip") as bar:
        for split in splits:
            clips = table[table["split"] == split]
            embed_split(clips, embedder, out, split, shards, bar)
            counts[split] = len(clips)
    return {**counts, "in_windows": len(long), "width": embedder.width, "upstream": embedder.name}


def embed_split(
    clips: pd.DataFrame, embedder: Embedder, out: Path, split: str, shards: int, bar: Bar
) -> None:
    """Writes the records of a split, after those that a killed run has left.

    Args:
        clips: Clips in order; columns `utterance_id`, `audio` (path) and `samples`, the length to
            which the clip is cut or repeated, at least a window.
        embedder: The upstream.
        out: Folder for the records.
        split: First part of their names.
        shards: Number of files.
        bar: Progress bar that counts clips.

    Raises:
        InputError: If a clip cannot be read.
    """
    ids, paths, samples = (list(clips[name]) for name in ("utterance_id", "audio", "samples"))
    whole = whole_examples(out, split, shards)
    # A batch is repeated from its first clip: in another batch its last bits might differ.
    left = [batch for batch in _batches(samples, embedder) if batch.stop > whole]
    kept = left[0].start if left else len(ids)
    bar.update(kept)
    with ShardWriter(out, split, shards, keep=kept) as writer, ThreadPoolExecutor(1) as thread:

        def write(batch: range, vectors: tf.Tensor) -> None:
            for i, vector in zip(batch, vectors.numpy(), strict=True):
                writer.write(embedding_example(ids[i], vector, embedder.name))
            writer.flush()
            bar.update(len(batch))

        written = None
        for length, group in groupby(left, key=lambda batch: samples[batch.start]):
            run = list(group)
            files = paths[run[0].start : run[-1].stop]
            waveforms = read_batches(files, length, batch=len(run[0]))
            for batch, vectors in zip(run, map(embedder, waveforms), strict=True):
                if written is not None:
                    written.result()
                written = thread.submit(write, batch, vectors)  # while the model computes
        if written is not None:
            written.result()


def _batches(samples: Sequence[int], embedder: Embedder) -> list[range]:
    """Divides clips into batches: consecutive clips of one length that make one step."""
    batches, start = [], 0
    for length, run in groupby(samples):
        stop = start + sum(1 for _ in run)
        size = max(1, embedder.batch_size // embedder.windows(length))
        batches += [range(i, min(i + size, stop)) for i in range(start, stop, size)]
        start = stop
    return batches
