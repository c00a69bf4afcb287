"""Measures whether reading, decoding and writing slow the upstream down.

    python benchmarks/embedding.py --out results/embedding

It compares embedding audio files, as `extract_embeddings` does, with the model alone on the same
batches in memory, both in one process and in turns.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from tabulate import tabulate
from tqdm import tqdm

from ser_nsl.cli import run_function

_RATE_HZ = 48_000  # as studio recordings, so that resampling is measured too


def main(
    *,
    out: Path,
    upstream: str | None = None,
    audio_dir: Path | None = None,
    clips: int = 100,
    clip_seconds: float = 3.0,
    repeats: int = 5,
) -> str:
    """Measures the speed of the model alone, and of embedding files with it.

    Args:
        out: Folder for `embedding.md` and `embedding.json`.
        upstream: A checkpoint with an emotion head; by default one of about the size of
            wav2vec2-base with random weights.
        audio_dir: Clips; by default noise of 2 to 4 seconds is made, FLAC at 48 kHz.
        clips: Number of clips.
        clip_seconds: Length to which they are cut or repeated, in seconds.
        repeats: Number of measurements of both.
    """
    from benchmarks.mini_upstream.make import make_upstream
    from ser_nsl.audio.clip import read_batches
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.embed import embed_split
    from ser_nsl.upstream.embedder import Embedder

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if upstream is None:
            upstream = str(scratch / "upstream")
            make_upstream(out=Path(upstream), hidden_size=768, layers=12, channels=512)
        loaded = load_upstream(upstream)
        paths = make_clips(scratch, clips) if audio_dir is None else find_clips(audio_dir, clips)
        embedder = Embedder(loaded, round(clip_seconds * 16_000))
        batches = list(read_batches(paths, embedder.window, batch=embedder.batch_size))
        table = pd.DataFrame({"audio": paths, "samples": embedder.window})
        table["utterance_id"] = [path.stem for path in paths]

        def model_alone() -> None:
            for waveforms in batches:
                embedder.step(waveforms).numpy()

        def from_files() -> None:
            with tempfile.TemporaryDirectory(dir=scratch) as records, tqdm(disable=True) as bar:
                embed_split(table, embedder, Path(records), "train", 4, bar)

        rows = compare(model_alone, from_files, len(paths), repeats)
    ratios = [row["ratio"] for row in rows]
    measured = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "parameters": loaded.encoder.parameters,
        "clips": len(paths),
        "clip_seconds": clip_seconds,
        "batch_size": embedder.batch_size,
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "least": min(ratios),
            "largest": max(ratios),
        },
        "repeats": rows,
    }
    text = describe(measured)
    out.mkdir(parents=True, exist_ok=True)
    (out / "embedding.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "embedding.md").write_text(text)
    return text


def make_clips(folder: Path, count: int) -> list[Path]:
    """Writes noise that swells and fades; it hardly compresses, so it is slow to decode."""
    random = np.random.default_rng(0)
    paths = [folder / f"{i:05d}.flac" for i in range(count)]
    for path in paths:
        samples = random.integers(2 * _RATE_HZ, 4 * _RATE_HZ)
        swell = np.sin(np.linspace(0, np.pi, samples))
        soundfile.write(path, 0.1 * swell * random.normal(size=samples), _RATE_HZ)
    return paths


def find_clips(folder: Path, count: int) -> list[Path]:
    """Takes the first clips of a corpus."""
    from ser_nsl.audio.folders import find_audio

    return list(find_audio(folder).clips[:count])


def compare(
    model_alone: Callable[[], None], from_files: Callable[[], None], clips: int, repeats: int
) -> list[dict[str, float]]:
    """Times both in turns, after a warm-up; they take turns in going first."""
    model_alone()
    from_files()
    rows = []
    for repeat in range(repeats):
        order = (model_alone, from_files) if repeat % 2 == 0 else (from_files, model_alone)
        seconds = {function: timed(function) for function in order}
        rows.append(
            {
                "model_clips_per_second": round(clips / seconds[model_alone], 2),
                "files_clips_per_second": round(clips / seconds[from_files], 2),
                "ratio": round(seconds[model_alone] / seconds[from_files], 3),
            }
        )
    return rows


def timed(function: Callable[[], None]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def describe(measured: dict) -> str:
    """The report, as Markdown."""
    ratio = measured["ratio"]
    return "\n".join(
        [
            "# Embedding files against the model alone",
            "",
            f"Made by `benchmarks/embedding.py` on {measured['machine']}, with an upstream of "
            f"{measured['parameters']:,} parameters and {measured['clips']} clips of "
            f"{measured['clip_seconds']:g} s, {measured['batch_size']} per batch. Files lie in the "
            "cache of the system. Loading and tracing the model are not counted.",
            "",
            f"Embedding files reaches **{ratio['median']:.3f}** of the speed of the model alone "
            f"on the same batches in memory (median of {len(measured['repeats'])}; "
            f"{ratio['least']:.3f} to {ratio['largest']:.3f}).",
            "",
            tabulate(measured["repeats"], headers="keys", tablefmt="github"),
            "",
        ]
    )


if __name__ == "__main__":
    run_function(main)
