"""Measures the speed and the memory of embedding a corpus by layers of an upstream.

    python -m benchmarks.embedding --upstream openai/whisper-base --layers 1 2 3 \
        --out results/embedding

`extract_embeddings` embeds a small and a large corpus of noise, each in a process of its own: the
difference of their times is the speed without start-up, and peak memory shows whether it grows
with the corpus. Beside it stands the encoder alone, called by transformers on the same windows in
memory, clip by clip, as one would without this project.
"""

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine, write_results
from ser_nsl.cli import run_function

_RATE_HZ = 48_000  # as studio recordings, so that resampling is measured too
_GROWTH = 4  # the large corpus has so many times the clips of the small one
_WARM_UP = 8  # clips
_LEAST_SPEED, _MOST_GIGABYTES = 60, 1.5


def main(
    *,
    out: Path,
    upstream: str = "openai/whisper-base",
    layers: tuple[int, ...] = (1, 2, 3),
    clips: int = 150,
    clip_seconds: float = 4.0,
) -> str:
    """Measures speed and peak memory.

    Args:
        out: Folder for `embedding.md` and `embedding.json`.
        upstream: Folder or hub name of an encoder.
        layers: Layers of it.
        clips: Number of clips of the small corpus; the large one has four times as many.
        clip_seconds: Their length, in seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        manifests = [
            make_corpus(scratch / str(count), count, clip_seconds)
            for count in (clips, _GROWTH * clips)
        ]
        small, large = (in_new_process(embed, each, upstream, layers) for each in manifests)
        alone = in_new_process(encoder_alone, upstream, layers, clips, clip_seconds)
    more = (_GROWTH - 1) * clips * clip_seconds
    speed = more / (large["seconds"] - small["seconds"])
    measured = {
        "machine": machine(),
        "upstream": Path(upstream).name if Path(upstream).is_dir() else upstream,
        "layers": list(layers),
        "clip_seconds": clip_seconds,
        "small": {"clips": clips, **small},
        "large": {"clips": _GROWTH * clips, **large},
        "alone": alone,
        "times_real_time": round(speed, 1),
        "ratio": round(speed / alone["times_real_time"], 2),
    }
    text = describe(measured)
    write_results(out, "embedding", measured, text)
    return text


def make_corpus(folder: Path, count: int, clip_seconds: float) -> Path:
    """Writes noise that swells and fades, FLAC at 48 kHz, and its manifest."""
    folder.mkdir()
    random = np.random.default_rng(0)
    samples = round(clip_seconds * _RATE_HZ)
    swell = 0.1 * np.sin(np.linspace(0, np.pi, samples))
    names = [f"{i:05d}" for i in range(count)]
    for name in names:
        soundfile.write(folder / f"{name}.flac", swell * random.normal(size=samples), _RATE_HZ)
    table = pd.DataFrame({"utterance_id": names, "path": [f"{name}.flac" for name in names]})
    table[["speaker", "gender", "emotion", "split"]] = ["one", "", "neutral", "train"]
    table["duration_seconds"] = clip_seconds
    table.assign(corpus="noise").to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def embed(manifest: Path, upstream: str, layers: tuple[int, ...]) -> dict[str, float]:
    """Embeds a corpus; loading and tracing the model are part of it."""
    from ser_nsl.upstream import extract_embeddings

    start = time.perf_counter()
    extract_embeddings(
        manifest=manifest,
        upstream=upstream,
        out=manifest.parent / "embeddings",
        audio_dir=manifest.parent,
        layers=layers,
    )
    return {"seconds": round(time.perf_counter() - start, 2), **peak()}


def encoder_alone(
    upstream: str, layers: tuple[int, ...], clips: int, clip_seconds: float
) -> dict[str, float]:
    """Calls the network itself, eagerly and one clip at a time, on windows in memory."""
    from ser_nsl.upstream.checkpoint import load_upstream

    encoder = load_upstream(upstream).encoder
    shape = (clips + _WARM_UP, 1, round(clip_seconds * 16_000))
    waveforms = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for waveform in waveforms[:_WARM_UP]:
        encoder.frames(waveform, layers)
    start = time.perf_counter()
    for waveform in waveforms[_WARM_UP:]:
        [frames.numpy() for frames in encoder.frames(waveform, layers)]
    seconds = time.perf_counter() - start
    return {"times_real_time": round(clips * clip_seconds / seconds, 1), **peak()}


def peak() -> dict[str, float]:
    """Peak memory of this process."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"gigabytes": round(kilobytes / 1024**2, 2)}


def describe(measured: dict[str, Any]) -> str:
    """The report, as Markdown."""
    rows = [
        {
            "what": f"{measured[size]['clips']} clips from files",
            "seconds": measured[size]["seconds"],
            "peak memory (GB)": measured[size]["gigabytes"],
        }
        for size in ("small", "large")
    ]
    alone = measured["alone"]
    most = max(measured[size]["gigabytes"] for size in ("small", "large"))

    def verdict(reached: bool) -> str:
        return "reached" if reached else "missed"

    return "\n".join(
        [
            "# Embedding by layers of an upstream",
            "",
            f"Made by `benchmarks/embedding.py` on {measured['machine']}: layers "
            f"{', '.join(map(str, measured['layers']))} of {measured['upstream']}, clips of "
            f"{measured['clip_seconds']:g} s, FLAC at 48 kHz. A row is a process, loading and "
            "tracing included; the speed is that of the clips by which the corpora differ.",
            "",
            tabulate(rows, headers="keys", tablefmt="github"),
            "",
            f"- **{measured['times_real_time']:g} times real time**, files read and embeddings "
            f"written (at least {_LEAST_SPEED}: "
            f"{verdict(measured['times_real_time'] >= _LEAST_SPEED)}).",
            f"- **{most:g} GB** at most (below {_MOST_GIGABYTES:g}: "
            f"{verdict(most < _MOST_GIGABYTES)}).",
            f"- {measured['ratio']:g} times as fast as the network called eagerly, clip by clip, "
            f"on windows in memory ({alone['times_real_time']:g} times real time).",
            "",
        ]
    )


if __name__ == "__main__":
    run_function(main)
