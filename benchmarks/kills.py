"""Kills the chain at random moments, and compares what it makes with what it makes undisturbed.

    python -m benchmarks.kills --out results/kills

A small experiment on synthetic speech runs as a process of its own, is killed (SIGKILL, with all
its children), and started again until it ends. Moments are drawn from a seed: each stage is hit as
often, the start of the process and the report too. All files must then hold the same bytes, but for
the times that they state and TensorBoard's logs; the exit status is 1 if one does not.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Timer
from time import monotonic

import numpy as np
from tabulate import tabulate

from benchmarks.random_upstream import make_upstream
from ser_nsl.cli import run_function
from ser_nsl.errors import check_least

_EXPERIMENT = """\
name: kills
title: Synthetic English to synthetic Italian, in small
source:
  corpus: ravdess
  synthetic: {speakers: 6, clips_per_emotion: 1}
  split: {method: speaker-independent}
target:
  corpus: demos
  synthetic: {speakers: 6, clips_per_emotion: 1}
  split: {method: speaker-independent}
clip_seconds: 0.6
copies: 1
front_end: {mel_bins: 16}
upstream: upstream
finetuning: {epochs: 3, clip_seconds: 0.3, freeze_feature_encoder: false}
graph: {builder: exact, similarity_threshold: 0.5, max_neighbors: 3, edges: nearest}
networks: [cnn_tdnn]
training: {epochs: 4}
"""
_START, _LAST, _REPORT = "start", "export_tflite -> recogniser.tflite", "make_report"
_STAGE = re.compile(r"\[\d+/\d+\] (\w+) -> (\S+?)(: up to date)?$")
_LOG = "events.out.tfevents."  # TensorBoard's: the time is in its name
# What reports measure: the time of each stage, and that of a prediction.
_TIMES = re.compile(
    rb'"(seconds|latency_ms_\w+|real_time_factor)": [\d.e-]+'
    rb"|^- (Latency|Real-time factor): .*$|^\| `\w+` \| \d+ \| .*$"
    rb'|<dt>(Latency|Real-time factor)</dt>\s*<dd>.*</dd>|<table class="stages">.*?</table>',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Kill:
    """A process that was killed.

    Attributes:
        chain: Number of the chain that it worked on.
        stage: What it was doing: a stage with its output, `start` or `make_report`.
        seconds: Since that had begun.
    """

    chain: int
    stage: str
    seconds: float


def main(*, out: Path, kills: int = 50, each: int = 10, seed: int = 0) -> str:
    """Runs chains until they have been killed often enough.

    Args:
        out: Folder for `kills.md` and `kills.json`.
        kills: Number of kills.
        each: Most kills of a chain before it may end.
        seed: Seed of the moments.

    Raises:
        SystemExit: With status 1 if a chain ended with other files, or did not end well.
    """
    check_least(1, kills=kills, each=each)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_upstream(out=folder / "upstream", hidden_size=16, layers=1, channels=8)
        (folder / "kills.yaml").write_text(_EXPERIMENT)
        undisturbed = run_chain(folder)
        if undisturbed.faults:
            sys.exit(undisturbed.faults[0])
        expected = contents(folder / "run")
        seconds = undisturbed.seconds
        waiting = draw_moments(kills, seconds, np.random.default_rng(seed))
        tally = Tally(seed, list(seconds), len(expected))
        while waiting:
            shutil.rmtree(folder / "run")
            missed = kill_chain(folder, sorted(waiting[:each]), tally)
            waiting = waiting[each:] + missed
            tally.add_faults(differences(expected, contents(folder / "run")))
            (out / "kills.json").write_text(json.dumps(asdict(tally), indent=1) + "\n")
            (out / "kills.md").write_text(describe(tally))
    if tally.faults:
        sys.exit(describe(tally))
    return describe(tally)


@dataclass
class Tally:
    """What has come of the kills so far.

    Attributes:
        seed: Seed of the moments.
        stages: What a chain does, in order.
        files: Number of files that a chain makes.
        chains: Number of chains.
        kills: The kills.
        faults: What went wrong, or differs.
    """

    seed: int
    stages: list[str]
    files: int
    chains: int = 0
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add_faults(self, faults: list[str]) -> None:
        """Adds what went wrong in the chain that ran last."""
        self.faults += [f"chain {self.chains}: {fault}" for fault in faults]


def kill_chain(
    folder: Path, moments: list[tuple[int, float]], tally: Tally
) -> list[tuple[int, float]]:
    """Runs a chain to its end, with kills.

    Args:
        folder: Folder of the experiment and the run.
        moments: When to kill, in the order of the stages.
        tally: What has come of the kills so far, to which these are added.

    Returns:
        The moments that were left when the chain ended; the first of them, missed by a process
        that was faster than the undisturbed one, comes in half the time.
    """
    tally.chains += 1
    for i, (stage, seconds) in enumerate(moments):
        ended = run_chain(folder, tally.stages[stage], seconds)
        tally.add_faults(ended.faults)
        if not ended.killed:
            return [(stage, seconds / 2), *moments[i + 1 :]]
        tally.kills.append(Kill(tally.chains, ended.stage, round(ended.since, 2)))
        print(f"{len(tally.kills)}: chain {tally.chains}, {ended.stage}", flush=True)
    tally.add_faults(run_chain(folder).faults)
    return []


@dataclass
class Ended:
    """A process that has ended.

    Attributes:
        stage: What it was doing last.
        since: Seconds since that had begun.
        seconds: Seconds of each thing that it did.
        killed: Whether it was killed.
        faults: What went wrong, in its words.
    """

    stage: str
    since: float
    seconds: dict[str, float]
    killed: bool
    faults: list[str]


def run_chain(folder: Path, stage: str = "", seconds: float = 0.0) -> Ended:
    """Starts the chain or goes on with it.

    Args:
        folder: Folder of the experiment and the run.
        stage: What it is to do when it is killed; empty to let it end.
        seconds: From the beginning of that to the kill.

    Returns:
        What happened.
    """
    command = [sys.executable, "-m", "ser_nsl.cli", "run-pipeline"]
    command += ["--config", "kills.yaml", "--out", "run"]
    with (
        (folder / "errors.txt").open("w+") as errors,
        subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that its children are killed with it
        ) as process,
    ):
        timer = Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        begun, times = monotonic(), {}
        doing = _START
        if stage == doing:
            timer.start()
        for line in process.stdout or ():
            now = _next(line, doing)
            if now == doing:
                continue
            times[doing], begun, doing = monotonic() - begun, monotonic(), now
            if stage == doing:
                timer.start()
        status = process.wait()
        timer.cancel()
        times[doing] = monotonic() - begun
        killed = status == -signal.SIGKILL
        errors.seek(0)
        lines = errors.read().split("\n")
    faults = [] if status == 0 or killed else [f"ended with {status}: {' '.join(lines[-3:])}"]
    return Ended(doing, times[doing], times, killed, faults)


def _next(line: str, doing: str) -> str:
    """What a process is doing after a line of its output."""
    begins = _STAGE.match(line.strip())
    if begins:
        doing = f"{begins[1]} -> {begins[2].removeprefix('run/')}"
        ends = begins[3] is not None
    else:
        ends = line.startswith("    ") and line.rstrip().endswith("s)")
    return _REPORT if ends and doing == _LAST else doing


def draw_moments(
    kills: int, stages: dict[str, float], random: np.random.Generator
) -> list[tuple[int, float]]:
    """Draws when processes are killed, each stage as often as others.

    Args:
        kills: Number of kills.
        stages: Seconds of each stage.
        random: Where chance comes from.

    Returns:
        Places of stages in their order, and seconds since these began.
    """
    places = random.permutation(np.arange(kills) % len(stages)).tolist()
    seconds = list(stages.values())
    return [(place, random.uniform(0, seconds[place])) for place in places]


def contents(folder: Path) -> dict[str, bytes]:
    """Reads every file of a folder, hidden ones too, without the times that it states.

    Args:
        folder: The folder.

    Returns:
        From path to content. TensorBoard's logs, whose names are times, are left out.
    """
    return {
        path.relative_to(folder).as_posix(): _without_times(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(_LOG)
    }


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name.endswith("stage.json"):
        record = json.loads(content)
        del record["seconds"]
        pages = {file for file in record["files"] if path.parent.name == "report"}
        logs = {file for file in record["files"] if Path(file).name.startswith(_LOG)}
        record["files"] = {  # sizes, which times change
            file: None if file in pages else size
            for file, size in record["files"].items()
            if file not in logs
        }
        return json.dumps(record).encode()
    return _TIMES.sub(b"", content) if path.parent.name == "report" else content


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Lists in which files two runs differ.

    Args:
        expected: Contents of the files of the one.
        found: Those of the other.

    Returns:
        One phrase a file.
    """
    phrases = []
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            phrases.append(f"{path} is missing")
        elif path not in expected:
            phrases.append(f"{path} is left over")
        elif expected[path] != found[path]:
            phrases.append(f"{path} has other bytes")
    return phrases


def describe(tally: Tally) -> str:
    """The table of kills by stage, with what came of them."""
    counts = Counter(kill.stage for kill in tally.kills)
    rows = [(stage, counts[stage]) for stage in tally.stages]
    lines = [
        "# The same bytes after kills",
        "",
        f"Made by `benchmarks/kills.py`: {len(tally.kills)} kills of {tally.chains} chains, seed "
        f"{tally.seed}. Each chain ended with {tally.files} files, which were compared with those "
        "of an undisturbed one: all bytes, but for the times that records and reports state, and "
        "TensorBoard's logs.",
        "",
        f"**{len(tally.faults)} differences.**",
        *(f"- {fault}" for fault in tally.faults),
        "",
        tabulate(rows, headers=["killed while it was at", "kills"], tablefmt="github"),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run_function(main)
