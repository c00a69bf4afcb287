"""MFCC statistics, the baseline of embeddings that needs no upstream."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage

_UPSTREAM = "mfcc"  # takes the place of an upstream's name in the records
_COEFFICIENTS = 20
_WINDOW, _HOP = 512, 256  # samples, those of the default front end
_LEAST_SAMPLES = 2_048  # nine frames, over which librosa fits a delta


@stage(inputs=("manifest", "audio_dir"), makes="folder")
def extract_mfccs(
    *,
    manifest: Path,
    out: Path,
    audio_dir: Path | None = None,
    splits: tuple[Literal["train", "val", "test"], ...] = ("train",),
    shards: int = 4,
) -> Mapping[str, Any]:
    """Embeds clips without an upstream, by the statistics of their MFCCs.

    Clips are not cut. Each of the 60 numbers is standardised by its mean and deviation over the
    training clips, whatever splits are embedded.

    Args:
        manifest: Manifest of the corpus.
        out: Folder for `{split}-00000-of-00004.tfrecord`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        splits: Splits to embed.
        shards: Files per split.

    Returns:
        Number of clips of each split, the width of an embedding, and the name `mfcc`.

    Raises:
        InputError: If a clip cannot be read, or a split has no clip.

    Example:
        >>> made = extract_mfccs(manifest=Path("manifest.csv"), out=Path("mfccs"), splits=("val",))
        >>> made.counts
        {'val': 12, 'width': 60, 'upstream': 'mfcc'}
    """
    from sklearn.preprocessing import StandardScaler

    table = read_manifest(manifest)
    missing = [split for split in splits if split not in set(table["split"])]
    if missing:
        raise InputError(f"splits: {manifest} has no clip in {', '.join(missing)}.")
    table = table[table["split"].isin(["train", *splits])]
    paths = audio_paths(table, manifest, audio_dir)
    counts: dict[str, int] = {}
    with ExitStack() as opened:
        writers = {split: opened.enter_context(ShardWriter(out, split, shards)) for split in splits}
        pool = opened.enter_context(ThreadPoolExecutor())
        computed = pool.map(lambda path: mfcc_statistics(read_audio(path)), paths)
        statistics = np.stack([*Bar(computed, "MFCC", len(paths), unit="clip")])
        scaler = StandardScaler().fit(statistics[table["split"] == "train"].astype(np.float64))
        embeddings = scaler.transform(statistics.astype(np.float64)).astype(np.float32)
        for split, writer in writers.items():
            of_split = table["split"] == split
            ids = table.loc[of_split, "utterance_id"]
            for utterance_id, embedding in zip(ids, embeddings[of_split], strict=True):
                writer.write(embedding_example(utterance_id, embedding, _UPSTREAM))
            counts[split] = writer.written
    return {**counts, "width": embeddings.shape[1], "upstream": _UPSTREAM}


def mfcc_statistics(waveform: np.ndarray) -> np.ndarray:
    """Computes mean and deviation of a clip's MFCCs and the deviation of their deltas.

    Args:
        waveform: float32, shape `(samples,)`, values in [-1, 1], at 16 kHz; fewer than 2,048
            samples are repeated to that length.

    Returns:
        float32, shape `(60,)`: for 20 coefficients the means, the deviations, the deviations of
        the deltas.
    """
    import librosa

    coefficients = librosa.feature.mfcc(
        y=fit_length(waveform, max(len(waveform), _LEAST_SAMPLES)),
        sr=SAMPLE_RATE_HZ,
        n_mfcc=_COEFFICIENTS,
        n_fft=_WINDOW,
        hop_length=_HOP,
    )
    deltas = librosa.feature.delta(coefficients)
    statistics = [coefficients.mean(axis=1), coefficients.std(axis=1), deltas.std(axis=1)]
    return np.concatenate(statistics).astype(np.float32)
