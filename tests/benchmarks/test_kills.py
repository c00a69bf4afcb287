"""The logic of the benchmark, without the chain."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kills
from benchmarks.kills import contents, differences, draw_moments, run_chain
from ser_nsl.errors import InputError


def make_run(folder: Path, *, seconds: float = 1.0, log: str = "1") -> dict[str, bytes]:
    """Writes what a run leaves: a network with its record, and a report that states times."""
    model, report = folder / "model", folder / "report"
    for place in (model / "logs", report):
        place.mkdir(parents=True, exist_ok=True)
    (model / "model.h5").write_bytes(b"weights")
    (model / "logs" / f"events.out.tfevents.{log}").touch()
    record = {"stage": "train", "seconds": seconds}
    sizes = {"model.h5": 7, f"logs/events.out.tfevents.{log}": 0}
    (model / "stage.json").write_text(json.dumps(record | {"files": sizes}))
    page = f"UAR 50 %\n- Latency: median {seconds} ms\n| `train` | 2 | {seconds} | {seconds} |\n"
    (report / "report.md").write_text(page)
    (report / "metrics.json").write_text(f'{{"uar": 0.5, "seconds": {seconds}}}')
    (report / "stage.json").write_text(json.dumps(record | {"files": {"report.md": len(page)}}))
    return contents(folder)


def test_times_alone_make_no_difference(tmp_path):
    one = make_run(tmp_path / "one")
    other = make_run(tmp_path / "other", seconds=12.5, log="2")

    assert len(one) == 5
    assert differences(one, other) == []


def spoil(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda run: (run / "model/model.h5").write_bytes(b"Weights"), "model.h5 has other bytes"),
        (lambda run: (run / "model/model.h5").unlink(), "model/model.h5 is missing"),
        (lambda run: (run / ".model.lock").touch(), ".model.lock is left over"),
        (lambda run: spoil(run / "report/report.md", "50", "51"), "report.md has other bytes"),
        (lambda run: spoil(run / "report/metrics.json", "0.5", "0.6"), "metrics.json has other"),
        (lambda run: spoil(run / "model/stage.json", ": 7", ": 8"), "stage.json has other bytes"),
    ],
)
def test_all_else_is_a_difference(change, phrase, tmp_path):
    expected = make_run(tmp_path)
    change(tmp_path)

    (found,) = differences(expected, contents(tmp_path))

    assert phrase in found


def test_each_stage_is_hit_as_often_and_within_its_time():
    stages = {"start": 5.0, "extract": 1.0, "train": 30.0}
    moments = draw_moments(30, stages, np.random.default_rng(0))

    assert Counter(place for place, _ in moments) == {0: 10, 1: 10, 2: 10}
    for place, seconds in moments:
        assert 0 <= seconds <= [*stages.values()][place]


@pytest.fixture
def chain(monkeypatch):
    """A process that says what the chain says, and waits in its last stage."""
    script = (
        "import time\n"
        "print('[1/2] prepare_corpus -> run/manifest.csv: up to date', flush=True)\n"
        "print('[2/2] export_tflite -> run/recogniser.tflite', flush=True)\n"
        "time.sleep({wait})\n"
        "print('    form float32 (1.0 s)', flush=True)\n"
        "raise SystemExit({status})\n"
    )
    real = kills.subprocess.Popen

    def arrange(*, wait: float = 0.0, status: int = 0) -> None:
        command = [sys.executable, "-c", script.format(wait=wait, status=status)]
        monkeypatch.setattr(kills.subprocess, "Popen", lambda _, **given: real(command, **given))

    return arrange


def test_process_is_killed_in_the_stage_that_was_drawn(chain, tmp_path):
    chain(wait=600)

    ended = run_chain(tmp_path, "export_tflite -> recogniser.tflite", 0.1)

    assert ended.killed
    assert ended.stage == "export_tflite -> recogniser.tflite"
    assert 0.1 <= ended.since < 60
    assert ended.faults == []


@pytest.mark.parametrize("status", [0, 1])
def test_process_that_ends_is_not_killed(status, chain, tmp_path):
    chain(status=status)

    ended = run_chain(tmp_path, "prepare_corpus -> manifest.csv", 600)

    assert not ended.killed
    assert list(ended.seconds) == [
        *("start", "prepare_corpus -> manifest.csv", "export_tflite -> recogniser.tflite"),
        "make_report",
    ]
    assert bool(ended.faults) == (status == 1)


def test_report_follows_the_last_stage_made_or_not():
    made, ready = "    form float32 (1.0 s)\n", f"[20/20] {kills._LAST}: up to date\n"

    assert kills._next(made, kills._LAST) == "make_report"
    assert kills._next(ready, "choose_model -> chosen") == "make_report"
    assert kills._next(made, "start") == "start"


def test_numbers_below_one_are_refused(tmp_path):
    with pytest.raises(InputError, match="each: must be 1 or more; received 0"):
        kills.main(out=tmp_path, each=0)


def test_chain_that_ends_early_leaves_its_kills_to_the_next(chain, tmp_path):
    chain()
    tally = kills.Tally(0, ["start", "prepare_corpus -> manifest.csv", kills._LAST], files=5)

    missed = kills.kill_chain(tmp_path, [(1, 600.0), (2, 1.0)], tally)

    assert missed == [(1, 300.0), (2, 1.0)]
    assert (tally.chains, tally.kills, tally.faults) == (1, [], [])
    tally.add_faults(["model.h5 has other bytes"])
    tally.kills += [kills.Kill(1, "start", 0.5)]
    assert "1 kills of 1 chains" in kills.describe(tally)
    assert "**1 differences.**\n- chain 1: model.h5 has other bytes" in kills.describe(tally)
