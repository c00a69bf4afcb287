"""Measures how the chain up to the training records grows: CPU time, memory, reading.

    python -m benchmarks.scale --out results/scale

The corpus is generated. Every step is a process of its own. 10,000 clips need 1 GB on the disk.
"""

import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tabulate import tabulate

from benchmarks.measuring import in_new_process, machine
from ser_nsl.cli import run_function
from ser_nsl.errors import InputError
from ser_nsl.pipeline import load_experiment
from ser_nsl.pipeline.plan_run import plan_run
from ser_nsl.pipeline.steps import Step
from ser_nsl.training import train_downstream

_EMOTIONS = ("anger", "joy", "neutral", "sadness")
_SPEAKERS = 50
_SECONDS = 1.0
_RATE = 16_000
_MOST_GIGABYTES = 2.0


def main(*, out: Path, clips: tuple[int, int] = (2_500, 10_000)) -> str:
    """Runs the steps of the experiment `ravdess_to_emodb`, without training, on two corpora.

    Args:
        out: Folder for `scale.md` and `scale.json`.
        clips: Numbers of clips of the smaller and of the larger corpus.
    """
    if not _SPEAKERS * len(_EMOTIONS) <= clips[0] < clips[1]:
        raise InputError(
            f"clips: needs a smaller and a larger number, from {_SPEAKERS * len(_EMOTIONS)} on; "
            f"received {clips}."
        )
    out.mkdir(parents=True, exist_ok=True)
    measured = {
        "machine": machine(),
        "clips": clips,
        "steps": [_measure(number) for number in clips],
    }
    (out / "scale.json").write_text(json.dumps(measured, indent=1) + "\n")
    text = describe(measured)
    (out / "scale.md").write_text(text)
    return text


def _measure(clips: int) -> list[dict[str, Any]]:
    """Runs the steps on a corpus of this many clips, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "audio", clips)
        rows = []
        for step in plan(folder):
            print(f"{clips} clips: {step.function.__name__} -> {step.out.name}", flush=True)
            rows.append(in_new_process(run, step))
        return rows


def write_corpus(folder: Path, clips: int) -> None:
    """Writes clips of one second, EMOTION/SPEAKER/FILE: a pitch by speaker, a glide by emotion."""
    random = np.random.default_rng(0)
    time = np.arange(round(_SECONDS * _RATE)) / _RATE
    for i in range(clips):
        speaker, emotion = divmod(i % (_SPEAKERS * len(_EMOTIONS)), len(_EMOTIONS))
        place = folder / _EMOTIONS[emotion] / f"speaker{speaker:02d}"
        place.mkdir(parents=True, exist_ok=True)
        hertz = (100 + 3 * speaker + random.normal(0, 5)) * (1 + 0.3 * emotion * time)
        tone = sum(np.sin(2 * np.pi * k * np.cumsum(hertz) / _RATE) / k for k in range(1, 9))
        sound = 0.1 * tone + random.normal(0, 0.02, len(time))
        soundfile.write(place / f"{i:06d}.wav", sound, _RATE, subtype="PCM_16")


def plan(folder: Path) -> list[Step]:
    """Lists the steps of the shipped experiment that need no trained network."""
    experiment = load_experiment(
        "ravdess_to_emodb",
        [
            "target.corpus=folder",
            f"target.audio_dir={folder / 'audio'}",
            "target.leave_out=[]",
            f"clip_seconds={_SECONDS}",
        ],
    )
    kept: list[Step] = []
    trained: set[Path] = set()
    for step in plan_run(experiment, folder / "run"):
        if step.function is train_downstream or step.depends_on(trained):
            trained.add(step.out)
        else:
            kept.append(step)
    return kept


def run(step: Step) -> dict[str, Any]:
    """Runs a step in this process, which does nothing else: imports count."""
    inputs = sum(map(_bytes, step.inputs()))
    before = _read_bytes()
    step.run()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "step": f"{step.function.__name__} -> {step.out.name}",
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 2),
        "peak_gigabytes": round(max(each.ru_maxrss for each in used) / 1e6, 3),
        "input_bytes": inputs,
        "read_bytes": _read_bytes() - before,
    }


def _bytes(path: Path | str) -> int:
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def describe(measured: dict[str, Any]) -> str:
    """The table, with what it says."""
    (few, many), (small, large) = measured["clips"], measured["steps"]
    totals = [sum(row["cpu_seconds"] for row in rows) for rows in (small, large)]
    growth, most = totals[1] / totals[0], max(row["peak_gigabytes"] for row in large)
    rows = []
    for one, other in zip(small, large, strict=True):
        added = other["input_bytes"] - one["input_bytes"]
        reads = (other["read_bytes"] - one["read_bytes"]) / added if added > 0 else float("nan")
        seconds = one["cpu_seconds"], other["cpu_seconds"]
        share, times = seconds[1] / totals[1], seconds[1] / seconds[0]
        peaks = one["peak_gigabytes"], other["peak_gigabytes"]
        rows.append([one["step"], *seconds, f"{share:.1%}", f"{times:.2f}", *peaks, f"{reads:.1f}"])
    rows.append(["all", *(round(total, 1) for total in totals), "100 %", f"{growth:.2f}"])
    headers = ["step", f"CPU s, {few:,} clips", f"{many:,} clips", "share", "times", "GB", "GB"]
    lines = [
        "# How the chain grows",
        "",
        f"Made by `benchmarks/scale.py` on {measured['machine']}: generated clips of {_SECONDS} s "
        f"of {_SPEAKERS} speakers through the steps of `ravdess_to_emodb` without training, each "
        "in a process of its own, imports included. Read: bytes read for each byte that the larger "
        "corpus adds to a step's inputs, of which the hash for `stage.json` is one; where a step "
        "follows a manifest to the audio, that counts too.",
        "",
        tabulate(rows, headers=[*headers, "read"], tablefmt="github", disable_numparse=True),
        "",
        f"{many / few:.1f} times the clips took **{growth:.2f} times** the CPU time (asked for: at "
        f"most {many / few:.1f}), and **{most:.2f} GB** at most (asked for: less than "
        f"{_MOST_GIGABYTES:.0f}).",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run_function(main)
