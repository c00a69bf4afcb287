"""Measures fine-tuning: the base model in little memory, and the cache of frozen convolutions.

    python -m benchmarks.finetuning --out results/finetuning

Weights are random and clips are noise, which changes neither time nor memory.
"""

import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine, write_results
from ser_nsl.cli import run_function

_SAMPLE_RATE_HZ = 16_000
_EMOTIONS = ("anger", "fear", "happiness", "neutral", "sadness")
_EMBEDDED_SECONDS = 6.0


def main(
    *,
    out: Path,
    precisions: tuple[str, ...] = ("float32", "mixed_bfloat16"),
    accumulate: int = 8,
    clips: int = 48,
    epochs: int = 4,
) -> str:
    """Measures time and peak memory, each in a process of its own.

    Args:
        out: Folder for `finetuning.md` and `finetuning.json`.
        precisions: Precisions of the base model's training step.
        accumulate: Number of parts of its batch of 16.
        clips: Number of clips in the epochs with and without cache.
        epochs: Number of these epochs, of which the fastest counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        in_new_process(make_base, base)
        measured = {
            "machine": machine(),
            "base": [
                in_new_process(base_embedding, base),
                *(in_new_process(base_step, base, each, accumulate) for each in precisions),
            ],
            "cache": in_new_process(cached_epochs, Path(folder), clips, epochs),
        }
    text = describe(measured)
    write_results(out, "finetuning", measured, text)
    return text


def make_base(out: Path) -> None:
    """Makes a wav2vec 2.0 of the published base size: 12 layers of width 768."""
    from transformers import (
        TFWav2Vec2ForSequenceClassification,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
    )

    from ser_nsl.upstream.checkpoint import quiet_transformers

    config = Wav2Vec2Config(classifier_proj_size=256, id2label=dict(enumerate(_EMOTIONS)))
    with quiet_transformers():
        model = TFWav2Vec2ForSequenceClassification(config)
    model.build_in_name_scope()
    model.save_pretrained(out, safe_serialization=True)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(out)


def base_embedding(base: Path) -> dict[str, object]:
    """Times one clip of 6 s from waveform to embedding, after one to warm up."""
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.embedder import Embedder

    loaded = load_upstream(str(base))
    waveform = noise(1, _EMBEDDED_SECONDS)
    embedder = Embedder(loaded, waveform.shape[1])
    embedder(waveform)
    start = time.perf_counter()
    embedder(waveform)
    return {"task": f"embed a clip of {_EMBEDDED_SECONDS:g} s"} | facts(
        start, loaded.encoder.parameters
    )


def base_step(base: Path, precision: str, accumulate: int) -> dict[str, object]:
    """Times a whole step of 16 clips of 4 s with the published settings, after one to warm up.

    And the same from frames that were computed before.
    """
    import tensorflow as tf

    from ser_nsl.upstream.settings import FineTuningConfig
    from ser_nsl.upstream.tuner import Tuner

    config = FineTuningConfig(precision=precision, accumulate=accumulate)
    tuner = Tuner(str(base), _EMOTIONS, config, steps=2, strategy=tf.distribute.get_strategy())
    inputs = noise(config.batch_size, config.clip_seconds)
    labels = np.arange(config.batch_size, dtype=np.int32) % len(_EMOTIONS)
    random = np.random.default_rng(0)
    tuner.train(inputs, labels, random)
    start = time.perf_counter()
    tuner.train(inputs, labels, random)
    task = f"train on 16 clips of 4 s in {accumulate} parts, {precision}"
    measured = {"task": task} | facts(start, tuner.model.num_parameters())
    frames = np.concatenate([tuner.frames(clip[np.newaxis]).numpy() for clip in inputs])
    tuner.train(frames, labels, random)
    start = time.perf_counter()
    tuner.train(frames, labels, random)
    return measured | {"seconds with frames kept": round(time.perf_counter() - start, 2)}


def cached_epochs(folder: Path, clips: int, epochs: int) -> list[dict[str, object]]:
    """Times epochs of a small model of the experiments, with frames kept and with none kept."""
    import soundfile
    import tensorflow as tf

    from benchmarks.random_upstream import make_upstream
    from ser_nsl.upstream import frame_cache
    from ser_nsl.upstream.settings import FineTuningConfig
    from ser_nsl.upstream.tuner import Tuner

    paths = [folder / f"{i}.wav" for i in range(clips)]
    config = FineTuningConfig()
    for path, waveform in zip(paths, noise(clips, config.clip_seconds), strict=True):
        soundfile.write(path, 0.1 * waveform, _SAMPLE_RATE_HZ)
    make_upstream(out=folder / "small", hidden_size=128, layers=2, channels=64)
    labels = np.arange(clips, dtype=np.int32) % len(_EMOTIONS)
    samples = round(config.clip_seconds * _SAMPLE_RATE_HZ)
    rows = []
    for kept, share in (("nothing", 0.0), ("on disk", 1.0)):
        frame_cache._DISK_SHARE = share
        tuner = Tuner(
            str(folder / "small"), _EMOTIONS, config, steps=1, strategy=tf.distribute.get_strategy()
        )
        compute = lambda waveforms, tuner=tuner: tuner.frames(waveforms).numpy()  # noqa: E731
        compute(noise(config.batch_size, config.clip_seconds))
        start = time.perf_counter()
        cache = frame_cache.FrameCache(paths, samples, compute, folder, batch=config.batch_size)
        filled = time.perf_counter() - start
        random, seconds = np.random.default_rng(0), []
        for _ in range(epochs + 1):  # the first one traces
            start, first = time.perf_counter(), 0
            for inputs in cache.batches(np.arange(clips)):
                tuner.train(inputs, labels[first : first + len(inputs)], random)
                first += len(inputs)
            seconds.append(time.perf_counter() - start)
        rows.append(
            {
                "frames are kept": kept,
                "once (s)": 0.0 if kept == "nothing" else round(filled, 2),
                "epoch (s)": round(min(seconds[1:]), 2),
            }
        )
    return [row | {"speed-up": round(rows[0]["epoch (s)"] / row["epoch (s)"], 1)} for row in rows]


def noise(clips: int, seconds: float) -> np.ndarray:
    """Returns white noise, float32, shape `(clips, samples)`."""
    shape = (clips, round(seconds * _SAMPLE_RATE_HZ))
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def facts(start: float, parameters: int) -> dict[str, float]:
    """Returns the time since `start`, the process's peak memory, and the model's size."""
    return {
        "parameters (million)": round(parameters / 1e6, 1),
        "seconds": round(time.perf_counter() - start, 2),
        "peak memory (GB)": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
    }


def describe(measured: Mapping[str, object]) -> str:
    """Returns the tables with their explanations."""

    def table(name: str) -> str:
        return tabulate(measured[name], headers="keys", tablefmt="github")

    return "\n".join(
        [
            "# Fine-tuning",
            "",
            f"Made by `benchmarks/finetuning.py` on {measured['machine']}. Speeds move with the "
            "load of the machine; compare rows of one table.",
            "",
            "## A model of the size of wav2vec2-base",
            "",
            "Random weights. A row is a process: its peak memory is that of everything in it, "
            "TensorFlow, weights, Adam and gradients included. A step is dropout, masks and Adam, "
            "once with the frozen convolutions and once from their frames, as a training does it.",
            "",
            table("base"),
            "",
            "## Frozen convolutions: seconds per epoch",
            "",
            "The small model that the experiments make, on clips of 4 s.",
            "",
            table("cache"),
            "",
        ]
    )


if __name__ == "__main__":
    run_function(main)
