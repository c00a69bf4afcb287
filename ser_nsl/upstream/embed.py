"""The stage from clips of the target corpus to embeddings.

Clips are divided into windows of one length, so nothing is padded: checkpoints normalise over time,
and padding would make an embedding depend on the other clips of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lazy_loader
import numpy as np
import pandas as pd
from tqdm import tqdm

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_batches, window_starts
from ser_nsl.audio.records import ShardWriter, embedding_example, whole_examples
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.encoder import Pooling, pool_layers

if TYPE_CHECKING:
    import tensorflow as tf

    from ser_nsl.upstream.checkpoint import Upstream
else:
    tf = lazy_loader.load("tensorflow")

_CHOICE_SECONDS = 4.0  # length of clips that choose layers
_STEP_SAMPLES = 60 * SAMPLE_RATE_HZ  # wav2vec2-base then needs 2.1 GB in all


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
            is cut, and short ones are repeated to the longest or to one window.
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

    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size: must be at least 1; received {batch_size}.")
    if (layers == "auto") != (source is not None):
        raise InputError(
            "source: is the corpus on which layers auto chooses, and only that; received layers "
            f"{layers} and source {source}."
        )
    table = read_manifest(manifest)
    seconds = table["duration_seconds"].max() if clip_seconds is None else clip_seconds
    window = round(min(seconds, window_seconds) * SAMPLE_RATE_HZ)
    missing = [split for split in splits if split not in set(table["split"])]
    if missing:
        raise InputError(f"splits: {manifest} has no clip in {', '.join(missing)}.")
    table["audio"] = audio_paths(table, manifest, audio_dir)
    lengths = table["duration_seconds"] if clip_seconds is None else clip_seconds
    table["samples"] = np.maximum(np.round(lengths * SAMPLE_RATE_HZ).astype(int), window)
    table = table[table["split"].isin(splits)]
    loaded = load_upstream(upstream)
    if layers == "auto":
        assert source is not None
        layers = _choose_layers(loaded, source, pooling)
    embedder = Embedder(loaded, window, layers=layers, pooling=pooling, batch_size=batch_size)
    long = int((table["samples"] > window).sum())
    if long:
        tqdm.write(
            f"{long} of {len(table)} clips are longer than {window / SAMPLE_RATE_HZ:g} s; their "
            "embedding is the mean over windows of this length"
        )
    counts: dict[str, int] = {}
    with tqdm(total=len(table), desc="embedding", unit="clip") as bar:
        for split in splits:
            clips = table[table["split"] == split]
            embed_split(clips, embedder, out, split, shards, bar)
            counts[split] = len(clips)
    return {**counts, "in_windows": long, "width": embedder.width, "upstream": embedder.name}


def _choose_layers(upstream: Upstream, source: Path, pooling: Pooling) -> tuple[int, ...]:
    """Embeds a labelled corpus by every layer of an encoder, and chooses as `best_layers` does."""
    from ser_nsl.upstream.choose import best_layers, labelled_clips

    table = labelled_clips(source)
    table = table[table["split"].isin(("train", "val"))]
    depth, longest = upstream.encoder.layers, upstream.encoder.longest_samples
    samples = min(round(_CHOICE_SECONDS * SAMPLE_RATE_HZ), longest or math.inf)
    embedder = Embedder(upstream, int(samples), layers=tuple(range(depth + 1)), pooling=pooling)
    vectors = embedder.embed_files(list(table["audio"]), "layers of the upstream")
    train = (table["split"] == "train").to_numpy()
    emotions = table["emotion"].to_numpy()
    by_layer = np.split(vectors, depth + 1, axis=1)
    return best_layers(
        [(layer[train], layer[~train]) for layer in by_layer], emotions[train], emotions[~train]
    )


class Embedder:
    """An upstream as a function from clips to vectors.

    Attributes:
        window: Samples of a window.
        batch_size: Windows per step.
        width: Width of an embedding.
        name: The upstream's hash and what was taken of it, e.g. `0123456789abcdef:fc1` or
            `0123456789abcdef:layers2+3:statistics`.
        step: Function in graph mode, from float32 `(windows, window)` to `(windows, width)`.
    """

    def __init__(
        self,
        upstream: Upstream,
        window: int,
        *,
        layers: tuple[int, ...] | None = None,
        pooling: Pooling = "statistics",
        batch_size: int | None = None,
    ) -> None:
        """Makes the function, which is traced when it is first used.

        Args:
            upstream: The encoder, with its head if `layers` is None.
            window: Samples of a window.
            layers: As for `extract_embeddings`; None for FC1.
            pooling: As for `extract_embeddings`.
            batch_size: As for `extract_embeddings`.

        Raises:
            InputError: If the encoder has no such layer or no head, or the window does not fit it.
        """
        encoder = upstream.encoder
        encoder.check_window(window)
        self.window = window
        self.batch_size = batch_size or max(1, _STEP_SAMPLES // window)
        if layers is None:
            head = upstream.require_head()
            taken, embed, part = head.layers, head.embed, "fc1"
            self.width = head.width
        else:
            encoder.check_layers(layers)
            taken, embed = layers, partial(pool_layers, pooling=pooling)
            part = f"layers{'+'.join(map(str, layers))}:{pooling}"
            self.width = encoder.width * len(layers) * (1 if pooling == "mean" else 2)
        self.name = f"{upstream.fingerprint(with_head=layers is None)}:{part}"

        @tf.function(input_signature=[tf.TensorSpec((None, window))], autograph=False)
        def step(waveform: tf.Tensor) -> tf.Tensor:
            return embed(encoder.frames(waveform, taken))

        self.step = step

    def windows(self, samples: int) -> int:
        """Returns the least number of windows that cover a clip of `samples` samples."""
        return len(window_starts(samples, self.window))

    def __call__(self, waveforms: np.ndarray) -> tf.Tensor:
        """Embeds clips of one length, each as the mean over the windows that cover it.

        Args:
            waveforms: float32, shape `(clips, at least window samples)` at 16 kHz.

        Returns:
            float32, shape `(clips, width)`.
        """
        clips, samples = waveforms.shape
        starts = window_starts(samples, self.window)
        views = np.lib.stride_tricks.sliding_window_view(waveforms, self.window, axis=1)
        windows = views[:, starts].reshape(-1, self.window)
        steps = range(0, len(windows), self.batch_size)
        vectors = tf.concat([self.step(windows[i : i + self.batch_size]) for i in steps], axis=0)
        return tf.reduce_mean(tf.reshape(vectors, (clips, len(starts), self.width)), axis=1)

    def embed_files(self, paths: Sequence[Path], title: str) -> np.ndarray:
        """Embeds files, each cut or repeated to one window, with a bar.

        Args:
            paths: Audio files.
            title: Beside the bar.

        Returns:
            float32, shape `(files, width)`.

        Raises:
            InputError: If a clip cannot be read.
        """
        vectors = []
        with tqdm(total=len(paths), desc=title, unit="clip") as bar:
            for waveforms in read_batches(list(paths), self.window, batch=self.batch_size):
                vectors.append(self(waveforms).numpy())
                bar.update(len(waveforms))
        return np.concatenate(vectors)


def embed_split(
    clips: pd.DataFrame, embedder: Embedder, out: Path, split: str, shards: int, bar: tqdm
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
