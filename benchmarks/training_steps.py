"""Measures the cost of a training step with a graph, beside plain training.

    python -m benchmarks.training_steps --out results/training_steps

Every case runs in a process of its own, in which plain steps and steps with a graph take turns.
"""

import atexit
import json
import resource
import shutil
import time
from collections.abc import Callable
from itertools import cycle, product
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine
from ser_nsl.cli import run_function

_NETWORKS = ("resnet9", "cnn6")
_SOURCES = ("packed", "batch", "bank")
_NEIGHBORS = (3, 6, 9)
_BATCH = 16
_CLIPS = 320
_CLIP_SECONDS = 3
_LIMITS = {"packed": lambda n: 1 + n, "batch": lambda n: 1.15, "bank": lambda n: 1.15}


def main(
    *,
    out: Path,
    turns: int = 10,
    networks: tuple[str, ...] = _NETWORKS,
    parts: tuple[Literal["steps", "precision", "input"], ...] = ("steps", "precision", "input"),
) -> str:
    """Times steps of 16 clips of 3 s for all sources of neighbours, and the input.

    Args:
        out: Folder for `training_steps.md` and `training_steps.json`.
        turns: Number of turns of plain steps and steps with a graph; 1 for a trial.
        networks: Names of the networks.
        parts: Tables to measure; the others stay as they are in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "training_steps.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    measured["machine"] = machine()
    if "steps" in parts:
        cases = product(networks, _SOURCES, _NEIGHBORS)
        measured["steps"] = [in_new_process(measure_steps, *case, turns) for case in cases]
    if "precision" in parts:
        measured["precision"] = [
            in_new_process(measure_precision, each, turns) for each in networks
        ]
    if "input" in parts:
        cases = product(networks, _SOURCES)
        measured["input"] = [in_new_process(measure_input, *case) for case in cases]
    path.write_text(json.dumps(measured, indent=1) + "\n")
    text = describe(measured)
    (out / "training_steps.md").write_text(text)
    return text


def measure_steps(network: str, source: str, neighbors: int, turns: int) -> dict[str, Any]:
    """Times plain steps and steps with a graph in turns, and the memory of the latter."""
    graph_step = stepper(network, source, neighbors)
    graph_step()
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    plain_step = stepper(network, None, 0)
    plain, graph = in_turns(plain_step, graph_step, turns)
    return {
        "network": network,
        "source": source,
        "neighbors": neighbors,
        "plain_milliseconds": round(plain * 1e3, 1),
        "graph_milliseconds": round(graph * 1e3, 1),
        "ratio": round(graph / plain, 3),
        "bar": _LIMITS[source](neighbors),
        "peak_gigabytes": peak,
    }


def measure_precision(network: str, turns: int) -> dict[str, Any]:
    """Times plain steps in float32 and in mixed_bfloat16 in turns."""
    single, mixed = in_turns(
        stepper(network, None, 0), stepper(network, None, 0, "mixed_bfloat16"), turns
    )
    return {
        "network": network,
        "float32_milliseconds": round(single * 1e3, 1),
        "mixed_bfloat16_milliseconds": round(mixed * 1e3, 1),
        "speed_up": round(single / mixed, 2),
    }


def in_turns(one: Callable, other: Callable, turns: int) -> tuple[float, float]:
    """Returns the median seconds of each, after a first call of both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for step, times in zip((one, other), seconds, strict=True):
            for _ in range(3):
                start = time.perf_counter()
                step()
                if turn:
                    times.append(time.perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


def stepper(network: str, source: str | None, neighbors: int, precision: str = "float32"):
    """Returns a function that takes one step of training on the next batch, held in memory."""
    train, clips, order = trainable(network, source, neighbors, precision)
    batches = cycle([*clips.batches(order, _BATCH, seed=0, steps=0)])
    return lambda: train(next(batches))


def measure_input(network: str, source: str) -> dict[str, Any]:
    """Measures the share of an epoch spent in steps, not waiting for batches; 3 neighbours."""
    from ser_nsl.training.devices import divided

    train, clips, order = trainable(network, source, 3, "float32")
    batches = divided(clips.batches(order, _BATCH, seed=0, steps=0))

    def share() -> float:
        in_steps, begun = 0.0, time.perf_counter()
        for batch in batches:
            start = time.perf_counter()
            train(batch)
            in_steps += time.perf_counter() - start
        return in_steps / (time.perf_counter() - begun)

    share()
    shares = [share() for _ in range(3)]
    return {"network": network, "source": source, "share_in_steps": round(median(shares), 3)}


def trainable(network: str, source: str | None, neighbors: int, precision: str):
    """Returns a step of training, clips read from training records, and their order."""
    import tensorflow as tf

    from ser_nsl.audio.features import Description
    from ser_nsl.networks import NETWORKS
    from ser_nsl.training.data import training_clips
    from ser_nsl.training.graph_regularization import regularized
    from ser_nsl.training.orders import shuffled
    from ser_nsl.training.settings import TrainingConfig

    folder = Path(mkdtemp(prefix="training_steps"))
    atexit.register(shutil.rmtree, folder)
    records = write_records(folder, max(neighbors, 1))
    description = Description.load(records)
    clips = training_clips(
        records, ("train",), description, neighbors=neighbors, source=source or "packed"
    )
    tf.keras.mixed_precision.set_global_policy(precision)
    model = NETWORKS[network](description)
    if source is not None:
        model = regularized(model, clips, TrainingConfig(neighbors=source, alpha=0.1))
    model.compile(
        tf.keras.optimizers.Adam(1e-3),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = clips.neighborhoods() if source == "batch" else shuffled(clips.labelled)
    return tf.function(model.train_step), clips, order


def write_records(folder: Path, neighbors: int) -> Path:
    """Writes training records of clips of noise, in a graph of adjacent clips."""
    from ser_nsl.audio.examples import feature_example
    from ser_nsl.audio.features import Description
    from ser_nsl.audio.settings import FrontEndConfig
    from ser_nsl.audio.shards import ShardWriter
    from ser_nsl.graph.pack import pack_neighbors

    front_end, classes = FrontEndConfig(), tuple("abcdefg")
    samples = _CLIP_SECONDS * front_end.sample_rate_hz
    mean, deviation = (-40.0,) * front_end.mel_bins, (10.0,) * front_end.mel_bins
    description = Description(front_end, samples, classes, mean, deviation)
    random, ids = np.random.default_rng(0), [f"{clip:03}" for clip in range(_CLIPS)]
    features, graph = folder / "features", folder / "graph.tsv"
    features.mkdir()
    description.save(features)
    with ShardWriter(features, "train", 4) as writer:
        for clip, utterance_id in enumerate(ids):
            logmel = random.normal(-40, 10, description.logmel_shape).astype(np.float32)
            writer.write(feature_example(utterance_id, logmel, clip % len(classes)))
    edges = [
        f"{ids[clip]}\t{ids[(clip + step) % _CLIPS]}\t1.0\n"
        for clip in range(_CLIPS)
        for step in range(1, neighbors + 1)
    ]
    graph.write_text("".join(edges))
    records = folder / "records"
    pack_neighbors(
        features=features, graph=graph, out=records, max_neighbors=neighbors, form="indexed"
    )
    return records


def describe(measured: dict[str, Any]) -> str:
    """Returns the tables with their explanations."""
    sections = {
        "Steps": "Milliseconds per step, medians; `bar` is the upper limit of the ratio. Memory is "
        "the peak of a process that has only taken a step with the graph, TensorFlow with it.",
        "Precision": "Plain steps.",
        "Input": "Share of an epoch that is spent in steps, three neighbours, median of three "
        "epochs; in the rest the model waits for its next batch. It should be at least 0.95.",
    }
    lines = [
        "# Cost of a training step",
        "",
        f"Made by `benchmarks/training_steps.py` on {measured['machine']}: batches of {_BATCH} "
        f"clips of {_CLIP_SECONDS} s. Plain steps "
        "and steps with a graph take turns in one process.",
    ]
    for title, note in sections.items():
        rows = measured.get(title.lower(), [])
        table = tabulate(rows, headers="keys", tablefmt="github")
        lines += ["", f"## {title}", "", note, "", table]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run_function(main)
