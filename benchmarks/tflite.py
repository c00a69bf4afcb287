"""Measures recognisers on a device's runtimes: speed, size and memory, with their UAR.

    python -m benchmarks.tflite --model-dirs runs/ravdess_to_emodb/models/resnet9-nsl-seed0 \
        --manifest runs/ravdess_to_emodb/target/manifest.csv --out results/tflite

Everything that is timed takes turns in one process, so that ratios hold on a machine that others
use too.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.measuring import in_new_process
from ser_nsl.cli import run_function
from ser_nsl.edge import RUNTIMES
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_THREADS = (1, 2)
_WARM_UP = 3  # calls
_CALLS = 10  # in each turn
TARGETS = {
    "resnet9 int8 / resnet9 float32": 0.5,
    "cnn_tdnn int8 / resnet9 float32": 0.1,
    "the same, without the front end": 0.1,
    "front end / resnet9 float32": 0.15,
    "resnet9 int8 / upstream": 1 / 50,
    "cnn_tdnn int8 / upstream": 1 / 300,
}
"""Largest ratio of two medians with one thread of LiteRT."""


class Case(NamedTuple):
    """What is timed.

    Attributes:
        network: Name of the network; `front end` for the part before it, `upstream` for the large
            model.
        form: Form of the network.
        runtime: Package that runs it.
        path: Its `.tflite` file; None for the upstream.
    """

    network: str
    form: str
    runtime: str
    path: Path | None


@stage(inputs=("model_dirs", "manifest", "audio_dir"), makes="folder")
def benchmark_tflite(
    *,
    model_dirs: tuple[Path, ...],
    manifest: Path,
    out: Path,
    audio_dir: Path | None = None,
    rounds: int = 20,
) -> Mapping[str, Any]:
    """Measures trained networks in all forms, as apps would run them.

    Each form of each network runs on one clip, with one and with two threads, in every TFLite
    runtime that is installed. The front end alone takes turns with them, and so does a model of
    the size of wav2vec2-base (random weights, which cost the same) in TensorFlow. Needs Linux,
    which reports the peak memory of a process.

    Args:
        model_dirs: Folders of trained models, of different networks and one clip length.
        manifest: Manifest of the corpus; its test clips give the UAR, its training clips calibrate
            int8.
        out: Folder for `benchmark.md`, `benchmark.json` and `uar_by_latency.svg`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        rounds: Number of turns.

    Returns:
        Numbers of networks, of timed cases, and of missed targets.

    Raises:
        InputError: If a model cannot be exported, two have the same network or different clip
            lengths, or `rounds` is below 1.
    """
    from ser_nsl.reports.facts import describe_machine

    if rounds < 1:
        raise InputError(f"rounds: must be at least 1; received {rounds}.")
    files = out / "files"
    files.mkdir()
    cases, reports, waveform, seconds, test_clips = export_all(
        model_dirs, manifest, audio_dir, files
    )
    rows = []
    for threads in _THREADS:
        timed = in_new_process(time_in_turns, cases, waveform, threads, rounds)
        for case, milliseconds in timed.items():
            median = float(np.median(milliseconds))
            report = reports.get((case.network, case.form), {})
            rows.append(
                {
                    "network": case.network,
                    "form": case.form,
                    "runtime": case.runtime,
                    "threads": threads,
                    "bytes": report.get("bytes"),
                    "uar": report.get("uar"),
                    "median_ms": round(median, 4),
                    "p95_ms": round(float(np.percentile(milliseconds, 95)), 4),
                    "real_time_factor": median / 1000 / seconds,
                    "memory_mb": added_memory_mb(case) if report and threads == 1 else None,
                }
            )
    shutil.rmtree(files)
    table = pd.DataFrame(rows)
    targets = check_targets(table)
    measured = {
        "machine": describe_machine(),
        "clip_seconds": seconds,
        "test_clips": test_clips,
        "calls": rounds * _CALLS,
        "upstream_calls": rounds,
        "rows": rows,
        "bars": targets,
    }
    (out / "benchmark.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "benchmark.md").write_text(describe(measured))
    own = table[(table["threads"] == 1) & (table["runtime"] == RUNTIMES[0]) & table["uar"].notna()]
    draw_uar_by_latency(out / "uar_by_latency.svg", own)
    return {
        "networks": len(model_dirs),
        "timed": len(rows),
        "targets_missed": sum(not target["kept"] for target in targets),
    }


def export_all(
    model_dirs: tuple[Path, ...], manifest: Path, audio_dir: Path | None, folder: Path
) -> tuple[list[Case], dict[tuple[str, str], dict[str, Any]], np.ndarray, float, int]:
    """Exports all models in all forms.

    Returns:
        What to time, the reports by network and form, one test clip with its seconds, and the
        number of test clips.
    """
    from ser_nsl.export.clips import Clips
    from ser_nsl.export.convert import front_end_to_tflite
    from ser_nsl.export.forms import make_forms
    from ser_nsl.export.metadata import Card
    from ser_nsl.networks.saved import load_model

    models, lengths = {}, set()
    for model_dir in model_dirs:
        model, description = load_model(model_dir)
        lengths.add(description.clip_samples)
        if model.name in models or len(lengths) > 1:
            raise InputError(
                f"model_dirs: {model_dir} has the network {model.name} and "
                f"{description.clip_samples} samples per clip, but all models must differ in their "
                "network and have one clip length."
            )
        models[model.name] = model_dir, description
    runtimes = [name for name in RUNTIMES if find_spec(name)]
    cases, reports = [], {}
    for name, (model_dir, description) in tqdm(models.items(), desc="exporting", unit="network"):
        training, tested = (
            Clips.of_split(split, manifest, audio_dir, description) for split in ("train", "test")
        )
        judged = Clips.for_bounds(manifest, audio_dir, description)
        rate = description.front_end.sample_rate_hz
        card = Card(name, "1", description.classes, rate, description.clip_samples)
        for form, exported in make_forms(
            model_dir, card, training=training, judged=judged, tested=tested
        ).items():
            reports[name, form] = exported.report
            path = folder / f"{name}_{form}.tflite"
            path.write_bytes(exported.content)
            cases += [Case(name, form, runtime, path) for runtime in runtimes]
    path = folder / "front_end.tflite"
    path.write_bytes(front_end_to_tflite(description))
    cases += [Case("front end", "float32", runtime, path) for runtime in runtimes]
    cases.append(Case("upstream", "float32", "tensorflow", None))
    waveform = next(tested.waveforms())[:1]
    return cases, reports, waveform, waveform.shape[1] / rate, len(tested)


def time_in_turns(
    cases: list[Case], waveform: np.ndarray, threads: int, rounds: int
) -> dict[Case, list[float]]:
    """Measures the milliseconds of each call after the warm-up."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    calls = {case: _prepare(case, waveform, threads) for case in cases}
    times = defaultdict(list)
    for _ in tqdm(range(rounds), desc=f"timing, {threads} threads", unit="round"):
        for case, call in calls.items():
            count = 1 if case.path is None else _CALLS
            for number in range(-_WARM_UP if case.path else 0, count):
                start = time.perf_counter()
                call()
                if number >= 0:
                    times[case].append(1000 * (time.perf_counter() - start))
    return dict(times)


def _prepare(case: Case, waveform: np.ndarray, threads: int) -> Callable[[], Any]:
    if case.path is None:
        return _prepare_upstream(waveform)
    interpreter = import_module(f"{case.runtime}.interpreter").Interpreter(
        model_path=str(case.path), num_threads=threads
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform)
    return interpreter.invoke


def _prepare_upstream(waveform: np.ndarray) -> Callable[[], Any]:
    import tensorflow as tf
    from transformers import TFWav2Vec2Model, Wav2Vec2Config

    model: Any = TFWav2Vec2Model(Wav2Vec2Config())  # the sizes of facebook/wav2vec2-base
    call = tf.function(functools.partial(model, training=False))
    values = tf.constant(waveform)
    call(values)
    return lambda: call(values).last_hidden_state.numpy()


_PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from ser_nsl.edge import Recognizer
if len(sys.argv) > 1:
    recognizer = Recognizer(sys.argv[1], runtime=sys.argv[2])
    recognizer.predict(np.zeros(recognizer.clip_samples), recognizer.sample_rate_hz)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""  # not ru_maxrss, which a child inherits from its parent


def added_memory_mb(case: Case) -> float:
    """Measures what opening and running a recogniser adds to the peak memory of a process."""
    return round((_peak_kb(str(case.path), case.runtime) - _peak_kb()) / 1000, 1)


@functools.cache
def _peak_kb(*arguments: str) -> int:
    command = [sys.executable, "-c", _PEAK, *arguments]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=quiet)
    return int(done.stdout)


def check_targets(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Compares ratios with `TARGETS`, as far as the networks were measured.

    Args:
        rows: Columns `network`, `form`, `runtime`, `threads` and `median_ms`.

    Returns:
        For each target `what`, `ratio`, `bar` (the target) and `kept`.
    """
    one = rows[(rows["threads"] == 1) & rows["runtime"].isin([RUNTIMES[0], "tensorflow"])]
    medians = one.set_index(["network", "form"])["median_ms"]
    if ("resnet9", "float32") not in medians:
        return []
    reference, upstream = medians["resnet9", "float32"], medians["upstream", "float32"]
    front_end = medians["front end", "float32"]
    small = medians.get(("cnn_tdnn", "int8"), np.nan)
    ratios = (
        medians["resnet9", "int8"] / reference,
        small / reference,
        (small - front_end) / (reference - front_end),
        front_end / reference,
        medians["resnet9", "int8"] / upstream,
        small / upstream,
    )
    return [
        {"what": what, "ratio": round(float(ratio), 4), "bar": target, "kept": ratio <= target}
        for (what, target), ratio in zip(TARGETS.items(), map(float, ratios), strict=True)
        if not np.isnan(ratio)
    ]


def describe(measured: Mapping[str, Any]) -> str:
    """The report, as Markdown."""
    machine = measured["machine"]
    rows = [
        (
            row["network"],
            row["form"],
            row["runtime"],
            row["threads"],
            "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.2f}",
            "" if row["uar"] is None else f"{row['uar']:.1%}",
            f"{row['median_ms']:.3g}",
            f"{row['p95_ms']:.3g}",
            f"{row['real_time_factor']:.1e}",
            "" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}",
        )
        for row in measured["rows"]
    ]
    timings = ("median ms", "95 % ms", "of real time")
    headers = ("network", "form", "runtime", "threads", "MB", "UAR", *timings, "memory MB")
    targets = [
        (
            target["what"],
            f"{target['ratio']:.3g}",
            f"{target['bar']:.3g}",
            "yes" if target["kept"] else "no",
        )
        for target in measured["bars"]
    ]
    lines = [
        "# Recognisers on a device's runtimes",
        "",
        f"{measured['clip_seconds']:g} s of audio, {measured['calls']} calls each "
        f"({measured['upstream_calls']} of the upstream), in turns, on "
        f"{machine['cores']} cores of {machine['cpu']}. UAR: {measured['test_clips']} test clips. "
        "Memory: what opening and running adds to a process's peak. The front end is part of every "
        "network's time; the upstream has wav2vec2-base's size and random weights.",
        "",
        "![UAR against latency](uar_by_latency.svg)",
        "",
        tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True),
        "",
        "## Targets",
        "",
        "Medians, one thread, LiteRT.",
        "",
        tabulate(targets, headers=("ratio of", "ratio", "at most", "kept"), tablefmt="github"),
        "",
    ]
    return "\n".join(lines)


def draw_uar_by_latency(path: Path, rows: pd.DataFrame) -> None:
    """Draws UAR and latency of recognisers; areas grow with the size of their files.

    Args:
        path: SVG file.
        rows: One row per recogniser: `network`, `form`, `median_ms`, `uar` in [0, 1], `bytes`.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from ser_nsl.reports.figures import COLOURS, STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.1, 3.8), layout="constrained")
        axes = figure.subplots()
        forms = dict(zip(rows["form"].unique(), ("o", "s", "^", "D"), strict=False))
        networks = rows.groupby("network", sort=False)
        for (network, own), colour in zip(networks, COLOURS, strict=False):
            for row in own.itertuples():
                style = {"color": colour, "marker": forms[row.form], "edgecolor": "white"}
                area = 20 + 12 * row.bytes / 1e6
                axes.scatter(row.median_ms, row.uar, s=area, alpha=0.6, **style)
            axes.scatter([], [], color=colour, label=network)
        for form, marker in forms.items():
            axes.scatter([], [], color="#bbbbbb", marker=marker, label=form)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=7)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.margins(0.15)
        axes.grid()
        axes.set(title="UAR against latency, one thread", ylabel="UAR, test speakers")
        axes.set(xlabel="milliseconds per clip, median")
        figure.legend(loc="outside lower center", ncols=4, handlelength=1.2, columnspacing=1.2)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    run_function(benchmark_tflite)
