"""Runs a sweep: every training that it lists and that is not done yet, each a line of the results.

What trainings share (features, embeddings, graphs, training records) is made first, in this
process. The linear classifiers and the trials then go to worker processes. Validation speakers
choose the trial and the number of epochs of each arm, and with these the trainings that score the
test speakers follow.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ser_nsl.errors import InputError, check_least
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.choice import Choice, choose
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.plan import check_corpus, check_layers, given_start
from ser_nsl.pipeline.plan_folds import plan_folds, sweep_training
from ser_nsl.pipeline.results import RESULTS_NAME, SETTINGS_NAME, Results, add_result, read_results
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import run_steps
from ser_nsl.pipeline.sweep_config import SweepConfig, list_runs, load_sweep
from ser_nsl.pipeline.sweep_outlook import describe, hours_left
from ser_nsl.pipeline.sweep_processes import reason, run_in_processes
from ser_nsl.pipeline.sweep_run import LINEAR, SET_BY_RUNS, Run, Setting
from ser_nsl.training.train import check_networks
from ser_nsl.upstream.windows import find_speech

_RUNS_A_PROCESS = 10  # TensorFlow keeps some 150 MB of every training


def run_sweep(
    config: SweepConfig,
    out: Path,
    *,
    grids: Sequence[str] = (),
    work: Path,
    workers: int = 1,
    dry_run: bool = False,
) -> str:
    """Runs the trainings that are not done, and adds each to the results file.

    A sweep may be stopped at any time; run again, it goes on. Test speakers are scored once, with
    the trial and the number of epochs that validation speakers chose.

    Args:
        config: The sweep.
        out: Folder of the results file `runs.jsonl`.
        grids: Names of grids; empty for the default ones, `all` for every one.
        work: Folder for what trainings share: features, embeddings, graphs.
        workers: Number of trainings at a time; the cores are divided among them.
        dry_run: Whether to say only what would run, and how long that would take, once the corpus
            was looked at as far as that needs no decoding.

    Returns:
        How many trials and runs that test there are of each kind, how many of them are done, and
        the hours that the others are expected to take.

    Raises:
        InputError: As the stages, or if the results file is damaged, another process adds to it, a
            network lacks the layer, validation speakers lack an emotion, test speakers were scored
            with another choice, or trainings failed; the other trainings are done all the same.

    Example:
        >>> from ser_nsl.pipeline import load_sweep
        >>> emovo = load_sweep("emovo")
        >>> plan = run_sweep(emovo, Path("out"), work=Path("work"), dry_run=True)
        >>> plan.splitlines()[-1].split()  # trials, tests, hours
        ['all', '0', 'of', '60', '0', 'of', '198', 'unknown']
    """
    check_least(1, workers=workers)
    runs = list_runs(config, grids)
    if dry_run:
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        audio_dir = config.target.audio_dir
        if left and audio_dir is not None and not audio_dir.exists():
            return f"{audio_dir}: is not there yet\n{describe(config, runs, done, workers)}"
        if left:
            _check(config, left)
        return describe(config, runs, done, workers)
    with locked(out / RESULTS_NAME):
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        if left:
            _run(config, left, done, out, work, workers)
        return describe(config, runs, done, workers)


def _read_done(config: SweepConfig, out: Path) -> Results:
    """Reads the results that are there, which must be of these settings and choices."""
    done = read_results(out / RESULTS_NAME)
    if (out / SETTINGS_NAME).exists():
        _check_settings(config, out / SETTINGS_NAME)
    choices = choose(done, list_runs(config, ["all"]))
    for run, result in done.items():
        choice = choices.get(run.setting)
        if not (run.test and choice):
            continue
        if (result["chosen"], result["epochs"]) != (choice.trial, choice.epochs):
            raise InputError(
                f"{out}: test speakers were scored with {run.method} ({run.network}) as in trial "
                f"{result['chosen']!r} after {result['epochs']} epochs, but now {choice.trial!r} "
                f"after {choice.epochs} is chosen, and they are scored once; give another --out, "
                "or the grids as they were."
            )
    return done


def _run(
    config: SweepConfig, left: Sequence[Run], done: Results, out: Path, work: Path, workers: int
) -> None:
    """Runs the trainings that are left, and adds each to the results."""
    _check(config, left)
    save_settings(config, out / SETTINGS_NAME)
    _prepare(config, left, work)
    threads = max(1, (os.cpu_count() or 1) // workers)
    failed: list[tuple[Run, BaseException]] = []
    choices: dict[Setting, Choice] = {}
    with Bar(total=len(left), desc="sweep", unit="run") as bar:

        def train(runs: Sequence[Run]) -> None:
            for start in range(0, len(runs), workers * _RUNS_A_PROCESS):
                batch = runs[start : start + workers * _RUNS_A_PROCESS]
                for run, result in run_in_processes(config, batch, work, workers, threads, choices):
                    if isinstance(result, BaseException):
                        failed.append((run, result))
                    else:
                        done[run] = result
                        add_result(out / RESULTS_NAME, run, result)
                    bar.set_postfix_str(f"{hours_left(config, left, done, workers)} left")
                    bar.update()

        train([run for run in left if not _needs_choice(run)])
        choices |= choose(done, list_runs(config, ["all"]))
        train([run for run in left if _needs_choice(run) and run.setting in choices])
    if failed:
        run, error = failed[0]
        raise InputError(
            f"{len(failed)} of {len(left)} trainings failed; the others are in "
            f"{out / RESULTS_NAME}. The first was {run.network}, {run.method}, fold {run.fold}, "
            f"seed {run.seed}: {reason(error)}"
        )


def _check(config: SweepConfig, runs: Sequence[Run]) -> None:
    """Refuses networks, a corpus or a fold that a stage would refuse after work was done."""
    networks = {run.network for run in runs} - {LINEAR}
    trainings = [sweep_training(config, run) for run in runs]
    layers = {each.settings.layer for each in trainings if each.arm.has_graph}
    started = {
        each.network: start
        for each in trainings
        if (start := given_start(config, each)) is not None
    }
    check_networks(networks, layers, config.front_end, config.clip_seconds, started)
    check_layers(config)
    if any(each.arm.start and not given_start(config, each) for each in trainings):
        if not config.speech:
            raise InputError(
                "speech: arms that start from a taught network need folders of speech to teach it "
                'on; give them (--set "speech=[FOLDER]"), or other --grids.'
            )
        find_speech(config.speech)
    folds = sorted({run.fold for run in runs})
    with TemporaryDirectory() as temporary:
        write_speakers(config, Path(temporary))
        for fold, plan in plan_folds(config, folds, Path(temporary)).items():
            reading = check_corpus(plan.setup.target, centers=config.center is not None)
            if reading is not None:
                _check_validation(reading.rows, fold)


def _check_validation(clips: pd.DataFrame, fold: int) -> None:
    """Refuses to choose by validation speakers who lack an emotion that training clips have."""
    emotions = {
        split: {*clips.loc[clips["split"] == split, "emotion"]} - {""} for split in ("train", "val")
    }
    lacking = sorted(emotions["train"] - emotions["val"])
    if lacking:
        speakers = ", ".join(sorted({*clips.loc[clips["split"] == "val", "speaker"]}))
        raise InputError(
            f"folds: in fold {fold} no validation speaker ({speakers}) has a clip of "
            f"{', '.join(map(repr, lacking))}, so a choice by them would not see that emotion; let "
            "other speakers validate."
        )


def _prepare(config: SweepConfig, runs: Sequence[Run], work: Path) -> None:
    """Makes what the trainings of these runs read."""
    write_speakers(config, work)
    plans = plan_folds(config, sorted({run.fold for run in runs}), work)
    for fold, plan in plans.items():
        plan.features()
        for run in runs:
            if run.fold != fold:
                continue
            if run.network == LINEAR:
                plan.uncentered(run.method)
            else:
                plan.inputs(sweep_training(config, run))
    run_steps([*next(iter(plans.values())).steps.values()])


def write_speakers(config: SweepConfig, work: Path) -> None:
    """Writes who validates and tests in each fold, as `prepare_corpus` reads it; others train."""
    for number, fold in enumerate(config.folds):
        if fold.split is None:
            lists = {"val": fold.val, "test": fold.test}
            folder = work / f"fold{number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "speakers.json").write_text(json.dumps(lists, indent=1) + "\n")


def _needs_choice(run: Run) -> bool:
    return run.test and run.network != LINEAR


def _check_settings(config: SweepConfig, path: Path) -> None:
    """Refuses to put runs beside those of other settings; grids and what runs set may change.

    A setting that is newer than the runs had its default then.
    """
    by_runs = [name for name in SET_BY_RUNS if name not in config.tried]
    may_change = {"title", "caution", *(f"training.{name}" for name in by_runs)}
    replaced = "target.split."  # by the folds
    now, before = (
        pd.json_normalize(asdict(each)).iloc[0] for each in (config, load_sweep(str(path)))
    )
    for name in dict.fromkeys([*now.index, *before.index]):
        if name in may_change or name.startswith((replaced, "grids.", "default")):
            continue
        if before.get(name) != now.get(name):
            raise InputError(
                f"{path.parent}: its runs were made with other settings ({name}: "
                f"{before.get(name)}, not {now.get(name)}); give another --out."
            )
