"""The MFCC yardstick: how much of the likeness of clips a few classic numbers already tell."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import librosa
import numpy as np
from sklearn.preprocessing import StandardScaler, scale
from tqdm import tqdm

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length, read_audio
from ser_nsl.audio.records import ShardWriter, embedding_example
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

__all__ = ["extract_mfccs", "mfcc_statistics"]

_UPSTREAM = "mfcc"  # what records name as the maker of these embeddings
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
    """Embeds clips without an upstream: the statistics of their MFCCs.

    Whole clips are heard. Each of the 60 numbers is standardised by its mean and deviation over
    the training clips, whatever splits are embedded.

    Args:
        manifest: The clips.
        out: Folder for `{split}-00000-of-00004.tfrecord`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        splits: Which clips.
        shards: Files a split.

    Returns:
        Number of clips a split, the width of an embedding, and what made it.

    Raises:
        InputError: If a clip cannot be read, or a split has no clip.
    """
    table = read_manifest(manifest)
    missing = [split for split in splits if split not in set(table["split"])]
    if missing:
        raise InputError(f"splits: {manifest} has no clip in {', '.join(missing)}.")
    table = table[table["split"].isin(["train", *splits])]
    paths = audio_paths(table, manifest, audio_dir)
    counts: dict[str, int] = {}
    with ExitStack() as opened:
        writers = {split: opened.enter_context(ShardWriter(out, split, shards)) for split in splits}
        statistics = _statistics(paths)
        scaler = StandardScaler().fit(statistics[table["split"] == "train"])
        embeddings = scaler.transform(statistics).astype(np.float32)
        for split, writer in writers.items():
            of_split = table["split"] == split
            ids = table.loc[of_split, "utterance_id"]
            for utterance_id, embedding in zip(ids, embeddings[of_split], strict=True):
                writer.write(embedding_example(utterance_id, embedding, _UPSTREAM))
            counts[split] = writer.written
    return {**counts, "width": embeddings.shape[1], "upstream": _UPSTREAM}


def _statistics(paths: Sequence[Path]) -> np.ndarray:
    """`mfcc_statistics` of clips, float64, shape `(clips, 60)`."""
    with ThreadPoolExecutor() as pool:
        statistics = pool.map(lambda path: mfcc_statistics(read_audio(path)), paths)
        bar = tqdm(statistics, desc="MFCC", total=len(paths), unit="clip")
        return np.stack([*bar]).astype(np.float64)


def mfcc_statistics(waveform: np.ndarray, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Describes a clip by mean and deviation of its MFCCs and deviation of their deltas.

    Args:
        waveform: float32, shape `(samples,)`, values in [-1, 1]; fewer than 2,048 samples are
            repeated to as many.
        sample_rate_hz: Sample rate in Hz.

    Returns:
        float32, shape `(60,)`: of 20 coefficients the means, the deviations, the deviations of
        the deltas.
    """
    coefficients = librosa.feature.mfcc(
        y=fit_length(waveform, max(len(waveform), _LEAST_SAMPLES)),
        sr=sample_rate_hz,
        n_mfcc=_COEFFICIENTS,
        n_fft=_WINDOW,
        hop_length=_HOP,
    )
    deltas = librosa.feature.delta(coefficients)
    statistics = [coefficients.mean(axis=1), coefficients.std(axis=1), deltas.std(axis=1)]
    return np.concatenate(statistics).astype(np.float32)


def mfcc_embeddings(
    waveforms: Iterable[np.ndarray], *, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> np.ndarray:
    """Describes the clips of a corpus, standardised over it, to be compared by cosine.

    Args:
        waveforms: Each as for `mfcc_statistics`; at least one.
        sample_rate_hz: Sample rate in Hz.

    Returns:
        float64, shape `(clips, 60)`; every column has mean 0 and deviation 1, or is all 0 where
        the clips do not differ.
    """
    statistics = [mfcc_statistics(each, sample_rate_hz=sample_rate_hz) for each in waveforms]
    return scale(np.stack(statistics).astype(np.float64))
