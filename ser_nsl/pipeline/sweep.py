"""Runs a sweep: every training that it lists and that is not done yet, each a line of the results.

What trainings share (features, embeddings, graphs, training records) is made first, in this
process. The linear classifiers and the trials then go to worker processes. Validation speakers
choose the trial and the number of epochs of each arm, and with these the trainings that score the
test speakers follow.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partialmethod
from multiprocessing import get_context, parent_process
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Literal

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.audio.records import read_labels
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError, check_least
from ser_nsl.evaluation.model import read_metrics
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.comparison import Choice, Setting, choose
from ser_nsl.pipeline.experiment import LINEAR, SET_BY_RUNS, Run, SweepConfig, list_runs, load_sweep
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.plan import Plan, Training, check_corpus, check_layers, given_start
from ser_nsl.pipeline.plan_folds import plan_folds, sweep_training
from ser_nsl.pipeline.results import RESULTS_NAME, SETTINGS_NAME, Results, add_result, read_results
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import run_steps
from ser_nsl.training.train import check_networks
from ser_nsl.upstream.windows import find_speech

_RUNS_A_PROCESS = 10  # TensorFlow keeps some 150 MB of every training
_DIGITS = 4  # of curves


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
        ['all', '0', 'of', '66', '0', 'of', '102', 'unknown']
    """
    check_least(1, workers=workers)
    runs = list_runs(config, grids)
    if dry_run:
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        audio_dir = config.target.audio_dir
        if left and audio_dir is not None and not audio_dir.exists():
            return f"{audio_dir}: is not there yet\n{_describe(config, runs, done, workers)}"
        if left:
            _check(config, left)
        return _describe(config, runs, done, workers)
    with locked(out / RESULTS_NAME):
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        if left:
            _run(config, left, done, out, work, workers)
        return _describe(config, runs, done, workers)


def _read_done(config: SweepConfig, out: Path) -> Results:
    """Reads the results that are there, which must be of these settings and choices."""
    done = read_results(out / RESULTS_NAME)
    if (out / SETTINGS_NAME).exists():
        _check_settings(config, out / SETTINGS_NAME)
    choices = choose(done, list_runs(config, ["all"]))
    for run, result in done.items():
        choice = choices.get(Setting.of(run))
        if run.test and choice and (result["chosen"], result["epochs"]) != _chosen(choice):
            raise InputError(
                f"{out}: test speakers were scored with {run.method} ({run.network}) as in trial "
                f"{result['chosen']!r} after {result['epochs']} epochs, but now {choice.trial!r} "
                f"after {choice.epochs} is chosen, and they are scored once; give another --out, "
                "or the grids as they were."
            )
    return done


def _chosen(choice: Choice) -> tuple[str, int]:
    return choice.trial, choice.epochs


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
                for run, result in _run_in_processes(
                    config, batch, work, workers, threads, choices
                ):
                    if isinstance(result, BaseException):
                        failed.append((run, result))
                    else:
                        done[run] = result
                        add_result(out / RESULTS_NAME, run, result)
                    bar.set_postfix_str(f"{_hours(config, left, done, workers)} left")
                    bar.update()

        train([run for run in left if not _needs_choice(run)])
        choices |= choose(done, list_runs(config, ["all"]))
        train([run for run in left if _needs_choice(run) and Setting.of(run) in choices])
    if failed:
        run, error = failed[0]
        raise InputError(
            f"{len(failed)} of {len(left)} trainings failed; the others are in "
            f"{out / RESULTS_NAME}. The first was {run.network}, {run.method}, fold {run.fold}, "
            f"seed {run.seed}: {_reason(error)}"
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
            reading = check_corpus(plan.setup.target, centers=plan.centers)
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


def _run_in_processes(
    config: SweepConfig,
    runs: Sequence[Run],
    work: Path,
    workers: int,
    threads: int,
    choices: Mapping[Setting, Choice],
) -> Iterator[tuple[Run, dict[str, Any] | BaseException]]:
    """Yields runs with their results, or why there are none, each when it is done.

    The processes end with the last one. Executors that renew theirs by themselves
    (`max_tasks_per_child`) may wait for ever when one is due, as of Python 3.11.
    """
    with _processes(workers, threads) as pool:
        waiting = {
            pool.submit(train_and_score, config, run, work, choices.get(Setting.of(run))): run
            for run in runs
        }
        try:
            for future in as_completed(waiting):
                error = future.exception()
                known = error is not None and _is_failure(error)
                yield waiting[future], error if known and error else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _processes(workers: int, threads: int) -> ProcessPoolExecutor:
    spawn = get_context("spawn")  # TensorFlow does not survive a fork
    return ProcessPoolExecutor(workers, spawn, _prepare_worker, (threads,))


def _prepare_worker(threads: int) -> None:
    import tensorflow as tf

    Thread(target=_end_with_parent, daemon=True).start()
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # one bar is enough
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    """Ends a worker whose sweep was killed; it would wait for work, with its memory, for ever."""
    parent = parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)


def _is_failure(error: BaseException) -> bool:
    """Whether one training failed; any other error is a fault of the program."""
    import tensorflow as tf

    return isinstance(error, InputError | BrokenProcessPool | MemoryError | tf.errors.OpError)


def _reason(error: BaseException) -> str:
    import tensorflow as tf

    if isinstance(error, BrokenProcessPool | MemoryError | tf.errors.ResourceExhaustedError):
        return "memory ran out, or its process was killed; run again with fewer --workers"
    return str(error)


def train_and_score(
    config: SweepConfig, run: Run, work: Path, choice: Choice | None = None
) -> dict[str, Any]:
    """Trains a network, or a linear classifier, and scores it.

    Args:
        config: The sweep.
        run: The run.
        work: Folder of the sweep, where the inputs of its trainings are.
        choice: The trial and the number of epochs of a run that scores test speakers.

    Returns:
        A result, as `ser_nsl.pipeline.results.Results` says.
    """
    start = time.monotonic()
    plan = plan_folds(config, [run.fold], work)[run.fold]
    training = sweep_training(config, run, choice)
    with TemporaryDirectory() as temporary:
        if run.network == LINEAR:
            result = _score_linear(plan, training, run.method, Path(temporary))
        else:
            result = _score_network(plan, training, run, Path(temporary))
    if choice is not None:
        result["chosen"] = choice.trial
    return result | {"seconds": round(time.monotonic() - start, 1)}


def _score_linear(plan: Plan, training: Training, kind: str, folder: Path) -> dict[str, Any]:
    scores = plan.baseline(kind, training, folder / "scores.json")
    plan.steps[scores].run()
    found = read_metrics(scores)
    clips = read_manifest(plan.manifest()).set_index("utterance_id")
    result: dict[str, Any] = {"epochs": 0, "train_uar": found["train_uar"]}
    if "val" not in training.splits:
        result["val_uar"] = found["val_uar"]
    result |= _by_speaker(found, clips)
    return result | {"predictions": {"test": _predictions(found, clips)}}


def _score_network(plan: Plan, training: Training, run: Run, folder: Path) -> dict[str, Any]:
    # However few labels are used, an epoch has as many steps as show every training clip once.
    clips = len(read_labels(plan.features(), *training.splits))
    steps = -(-clips // training.settings.batch_size)
    training = replace(training, settings=replace(training.settings, epoch_steps=steps))
    model = plan.model(training, folder / "model")
    trained = plan.steps[model].run()
    history = json.loads((model / "history.json").read_text())
    kept = trained.counts["kept_epoch"]
    result: dict[str, Any] = {"epochs": len(history), "steps": steps, "kept_epoch": kept}
    result["train_uar"] = round(history[kept - 1]["uar"], _DIGITS)
    validated = "val" not in training.splits
    if validated:
        result["val_uar"] = history[kept - 1]["val_uar"]
        result["curve"] = [round(epoch["val_uar"], _DIGITS) for epoch in history]
    if training.arm.has_graph:
        result["purity"] = _purity(plan, training)
    manifest = read_manifest(plan.manifest()).set_index("utterance_id")
    result["predictions"] = {}
    splits: tuple[Literal["val", "test"], ...] = ("val", "test")
    for split in splits[0 if validated else 1 : 2 if run.test else 1]:
        scores = plan.scores(training, model, folder / f"{split}.json", split=split)
        plan.steps[scores].run()
        found = read_metrics(scores)
        result["predictions"][split] = _predictions(found, manifest)
        result |= _by_speaker(found, manifest) if split == "test" else {}
    return result


def _purity(plan: Plan, training: Training) -> float | None:
    """Share of the edges used that join clips of one emotion, whether training knows it or not."""
    from ser_nsl.training.data import training_clips

    features, settings = plan.features(), training.settings
    clips = training_clips(
        plan.training_records(training),
        ("train",),
        Description.load(features),
        neighbors=training.neighbors,
        source="batch",
        agreeing=settings.edges == "agreeing",
        label_share=1.0 if training.arm.pseudo_labels else settings.label_share,
        seed=settings.seed,
    )
    emotion_of = read_labels(features, *training.splits)
    emotions = np.array([emotion_of[utterance_id] for utterance_id in clips.ids])
    own, others = emotions[:, np.newaxis], emotions[clips.neighbors]
    counted = (clips.weights > 0) & (own != UNLABELLED) & (others != UNLABELLED)
    if settings.neighbors != "batch":  # clips without a label have no loss of their own then
        counted[clips.unlabelled] = False
    return float((own == others)[counted].mean()) if counted.any() else None


def _by_speaker(scores: dict[str, Any], clips: pd.DataFrame) -> dict[str, Any]:
    from ser_nsl.evaluation.scores import score_speakers

    by_speaker = score_speakers(scores["predictions"], clips, scores["classes"])
    names = ("uar", "accuracy", "clips", "classes", "confusion_matrix")
    return {name: scores[name] for name in names} | {
        "speakers": {
            speaker: {name: own[name] for name in ("uar", "clips")}
            for speaker, own in by_speaker.items()
        }
    }


def _predictions(scores: dict[str, Any], clips: pd.DataFrame) -> dict[str, list[int]]:
    """The true and the predicted class of each clip, as indices."""
    index = {name: i for i, name in enumerate(scores["classes"])}
    return {
        name: [index[clips.at[name, "emotion"]], index[predicted]]
        for name, predicted in scores["predictions"].items()
    }


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


def _describe(config: SweepConfig, runs: Sequence[Run], done: Results, workers: int) -> str:
    """A table of what is planned, what is done, and how long the rest will take."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.network, run.method, run.n or "", f"{run.label_share:g}"].append(run)
    rows = [
        (
            *kind,
            *(_progress([run for run in own if run.test == test], done) for test in (False, True)),
            _hours(config, own, done, workers),
        )
        for kind, own in [*groups.items(), (("all", "", "", ""), runs)]
    ]
    headers = ("network", "arm", "n", "labels", "trials", "tests", "hours left")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _progress(runs: Sequence[Run], done: Results) -> str:
    return f"{sum(run in done for run in runs)} of {len(runs)}" if runs else ""


def _hours(config: SweepConfig, runs: Sequence[Run], done: Results, workers: int) -> str:
    """How long the runs that are not done will take, going by the epochs of similar ones that are.

    A run that tests takes at most the epochs of the longest trial.
    """
    seconds = defaultdict(list)
    for run, result in done.items():
        seconds[_kind(run)].append(result["seconds"] / max(1, result["epochs"]))
    epochs = {name: config.trial_training(name).epochs for name in config.budget}
    most, left = max(epochs.values()), 0.0
    for run in runs:
        if run in done:
            continue
        if _kind(run) not in seconds:
            return "unknown"
        times = 1 if run.network == LINEAR else epochs.get(run.trial, most)
        left += times * median(seconds[_kind(run)])
    return f"{left / workers / 3600:.1f}"


def _kind(run: Run) -> tuple:
    """What the duration of an epoch depends on."""
    kind = run.method if run.network == LINEAR else run.neighbors
    return run.corpus, run.network, kind, run.label_share, run.n
