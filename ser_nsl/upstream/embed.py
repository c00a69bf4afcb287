"""The stage from clips of the target corpus to embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor

from ser_nsl.audio import read_batches
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.records import ShardWriter, embedding_example
from ser_nsl.stage import stage
from ser_nsl.upstream.checkpoint import load_upstream, standardise

_LEAST_SAMPLES = 400  # what one output of wav2vec 2.0's convolutions sees


@stage(inputs=("manifest", "audio_dir", "upstream"), makes="folder")
def extract_embeddings(
    *,
    manifest: Path,
    upstream: str,
    out: Path,
    audio_dir: Path | None = None,
    clip_seconds: float | None = None,
    splits: tuple[str, ...] = ("train",),
    batch_size: int = 16,
    shards: int = 4,
) -> Mapping[str, Any]:
    """Embeds clips: FC1 of the fine-tuned upstream, averaged over time, 256 numbers.

    All clips are brought to one length and none is padded, so that an embedding does not
    depend on what shares its batch.

    Args:
        manifest: The target corpus.
        upstream: Folder or hub name of a fine-tuned checkpoint.
        out: Folder for `{split}-00000-of-00004.tfrecord`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        clip_seconds: Length of every clip in seconds; by default that of the longest clip.
        splits: Which clips; the graph needs `train` only, the methods add, max and avg need all.
        batch_size: Clips a step; changes nothing but speed and memory.
        shards: Files a split.

    Returns:
        Number of clips a split, and the width of an embedding.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, clips are too short for it, or a
            split has no clip.
    """
    table = read_manifest(manifest)
    seconds = table["duration_seconds"].max() if clip_seconds is None else clip_seconds
    samples = round(seconds * 16_000)
    if samples < _LEAST_SAMPLES:
        raise InputError(
            f"clip_seconds: must hold {_LEAST_SAMPLES} samples at 16 kHz; received {seconds} s, "
            f"that is {samples} samples."
        )
    missing = [split for split in splits if split not in set(table["split"])]
    if missing:
        raise InputError(f"splits: {manifest} has no clip in {', '.join(missing)}.")
    table["audio"] = audio_paths(table, manifest, audio_dir)
    model, extractor = load_upstream(upstream)
    embed = embedder(model, extractor)
    rows_of = {split: table[table["split"] == split] for split in splits}
    counts = {}
    with tqdm(total=sum(map(len, rows_of.values())), desc="embedding", unit="clip") as bar:
        for split, rows in rows_of.items():
            ids = iter(rows["utterance_id"])
            with ShardWriter(out, split, shards) as writer:
                for waveforms in read_batches(list(rows["audio"]), samples, batch=batch_size):
                    for embedding in embed(waveforms).numpy():
                        writer.write(embedding_example(next(ids), embedding))
                    bar.update(len(waveforms))
            counts[split] = writer.written
    return {**counts, "width": int(model.projector.units)}


def embedder(
    model: TFWav2Vec2ForSequenceClassification, extractor: Wav2Vec2FeatureExtractor
) -> tf.types.experimental.GenericFunction:
    """Makes the function from waveforms to embeddings.

    Args:
        model: The upstream.
        extractor: Settings of its input.

    Returns:
        From float32 `(batch, samples)` at 16 kHz, without padding, to float32
        `(batch, projector size)`.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def embed(waveform: tf.Tensor) -> tf.Tensor:
        hidden = model.wav2vec2(standardise(waveform, extractor), training=False)
        return tf.reduce_mean(model.projector(hidden.last_hidden_state), axis=1)

    return embed
