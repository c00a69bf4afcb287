"""Runs a sweep: every training that it lists and that is not done yet, each a line of the results.

What trainings share (features, embeddings, graphs, training records) is made first, in this
process; the trainings then go to worker processes.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partialmethod
from multiprocessing import get_context, parent_process
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import UNLABELLED, read_labels
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation.model import read_metrics
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.experiment import Run, SweepConfig, list_runs, load_sweep
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.plan import Plan, Training, check_corpus, plan_folds, sweep_training
from ser_nsl.pipeline.results import RESULTS_NAME, SETTINGS_NAME, Results, add_result, read_results
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import run_steps
from ser_nsl.training.train import check_networks

_SET_BY_RUNS = ("alpha", "layer", "distance", "neighbors", "edges", "label_share", "seed")
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

    A sweep may be stopped at any time; run again, it goes on.

    Args:
        config: The sweep.
        out: Folder of the results file `runs.jsonl`.
        grids: Names of grids; empty for the default ones, `all` for every one.
        work: Folder for what trainings share: features, embeddings, graphs.
        workers: Number of trainings at a time; the cores are divided among them.
        dry_run: Whether to say only what would run, and how long that would take, once the corpus
            was looked at as far as that needs no decoding.

    Returns:
        How many runs there are of each kind, how many of them are done, and the hours that the
        others are expected to take.

    Raises:
        InputError: As the stages, or if the results file is damaged, another process adds to it, a
            network lacks the layer, or trainings failed; the other trainings are done all the same.

    Example:
        >>> from ser_nsl.pipeline import load_sweep
        >>> emovo = load_sweep("emovo")
        >>> plan = run_sweep(emovo, Path("out"), work=Path("work"), dry_run=True)
        >>> plan.splitlines()[-1].split()
        ['all', '306', '0', 'unknown']
    """
    if workers < 1:
        raise InputError(f"workers: must be at least 1; received {workers}.")
    runs = list_runs(config, grids)
    if dry_run:
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        audio_dir = config.target.audio_dir
        if left and audio_dir is not None and not audio_dir.exists():
            return f"{audio_dir}: is not there yet\n{_describe(runs, done, workers)}"
        if left:
            _check(config, left)
        return _describe(runs, done, workers)
    with locked(out / RESULTS_NAME):
        done = _read_done(config, out)
        left = [run for run in runs if run not in done]
        if left:
            _run(config, left, done, out, work, workers)
        return _describe(runs, done, workers)


def _read_done(config: SweepConfig, out: Path) -> Results:
    """Reads the results that are there, which must be of these settings."""
    done = read_results(out / RESULTS_NAME)
    if (out / SETTINGS_NAME).exists():
        _check_settings(config, out / SETTINGS_NAME)
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
    with Bar(total=len(left), desc="sweep", unit="run") as bar:
        for start in range(0, len(left), workers * _RUNS_A_PROCESS):
            batch = left[start : start + workers * _RUNS_A_PROCESS]
            for run, result in _run_in_processes(config, batch, work, workers, threads):
                if isinstance(result, BaseException):
                    failed.append((run, result))
                else:
                    done[run] = result
                    add_result(out / RESULTS_NAME, run, result)
                bar.set_postfix_str(f"{_hours(left, done, workers)} left")
                bar.update()
    if failed:
        run, error = failed[0]
        raise InputError(
            f"{len(failed)} of {len(left)} trainings failed; the others are in "
            f"{out / RESULTS_NAME}. The first was {run.network}, {run.method}, fold {run.fold}, "
            f"seed {run.seed}: {_reason(error)}"
        )


def _check(config: SweepConfig, runs: Sequence[Run]) -> None:
    """Refuses networks, a corpus or a fold that a stage would refuse after work was done."""
    layers = {run.layer for run in runs if run.layer}
    check_networks({run.network for run in runs}, layers, config.front_end, config.clip_seconds)
    folds = sorted({run.fold for run in runs})
    with TemporaryDirectory() as temporary:
        write_speakers(config, Path(temporary))
        for plan in plan_folds(config, folds, Path(temporary)).values():
            check_corpus(plan.setup.target, centers=plan.centers)


def _prepare(config: SweepConfig, runs: Sequence[Run], work: Path) -> None:
    """Makes what the trainings of these runs read."""
    write_speakers(config, work)
    plans = plan_folds(config, sorted({run.fold for run in runs}), work)
    for fold, plan in plans.items():
        plan.features()
        for run in runs:
            if run.fold == fold:
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


def _run_in_processes(
    config: SweepConfig, runs: Sequence[Run], work: Path, workers: int, threads: int
) -> Iterator[tuple[Run, dict[str, Any] | BaseException]]:
    """Yields runs with their results, or why there are none, each when it is done.

    The processes end with the last one. Executors that renew theirs by themselves
    (`max_tasks_per_child`) may wait for ever when one is due, as of Python 3.11.
    """
    with _processes(workers, threads) as pool:
        waiting = {pool.submit(train_and_score, config, run, work): run for run in runs}
        try:
            for future in as_completed(waiting):
                error = future.exception()
                known = error is not None and _is_failure(error)
                yield waiting[future], error if known and error else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _processes(workers: int, threads: int) -> ProcessPoolExecutor:
    """Processes that train with TensorFlow's own Keras.

    transformers has asked for tf-keras in this one; AutoGraph converts all of that as if a user had
    written it, which took 15 s in the first training of a process and 2 s in every other.
    """
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
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


def train_and_score(config: SweepConfig, run: Run, work: Path) -> dict[str, Any]:
    """Trains a network and scores it.

    Args:
        config: The sweep.
        run: The run.
        work: Folder of the sweep, where the inputs of its trainings are.

    Returns:
        A result, as `ser_nsl.pipeline.results.Results` says.
    """
    start = time.monotonic()
    plan, training = plan_folds(config, [run.fold], work)[run.fold], sweep_training(config, run)
    # However few labels are used, an epoch has as many steps as show every training clip once.
    clips = len(read_labels(plan.features(), *training.splits))
    steps = -(-clips // training.settings.batch_size)
    training = replace(training, settings=replace(training.settings, epoch_steps=steps))
    with TemporaryDirectory() as temporary:
        model = plan.model(training, Path(temporary) / "model")
        scores = plan.scores(training, model, Path(temporary) / "scores.json")
        trained = plan.steps[model].run()
        result = {"kept_epoch": trained.counts["kept_epoch"]}
        if "val" not in training.splits:
            history = json.loads((model / "history.json").read_text())
            result["val_uar"] = history[result["kept_epoch"] - 1]["val_uar"]
        if training.arm.has_graph:
            result["purity"] = _purity(plan, training)
        if run.test:
            plan.steps[scores].run()
            result |= _by_speaker(read_metrics(scores), plan.manifest())
    return result | {"seconds": round(time.monotonic() - start, 1)}


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


def _by_speaker(scores: dict[str, Any], manifest: Path) -> dict[str, Any]:
    from ser_nsl.evaluation.scores import score_speakers

    clips = read_manifest(manifest).set_index("utterance_id")
    by_speaker = score_speakers(scores["predictions"], clips, scores["classes"])
    names = ("uar", "accuracy", "clips", "classes", "confusion_matrix")
    return {name: scores[name] for name in names} | {
        "speakers": {
            speaker: {name: own[name] for name in ("uar", "clips")}
            for speaker, own in by_speaker.items()
        }
    }


def _check_settings(config: SweepConfig, path: Path) -> None:
    """Refuses to put runs beside those of other settings; grids and what runs set may change.

    A setting that is newer than the runs had its default then.
    """
    may_change = {"title", "caution", *(f"training.{name}" for name in _SET_BY_RUNS)}
    replaced = "target.split."  # by the folds
    now, before = (
        pd.json_normalize(asdict(each)).iloc[0] for each in (config, load_sweep(str(path)))
    )
    for name, value in now.items():
        if name in may_change or name.startswith((replaced, "grids.", "default")):
            continue
        if before.get(name) != value:
            raise InputError(
                f"{path.parent}: its runs were made with other settings ({name}: "
                f"{before.get(name)}, not {value}); give another --out."
            )


def _describe(runs: Sequence[Run], done: Results, workers: int) -> str:
    """A table of what is planned, what is done, and how long the rest will take."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.network, run.method, run.neighbors, run.n, run.label_share].append(run)
    rows = [
        (*kind, len(own), sum(run in done for run in own), _hours(own, done, workers))
        for kind, own in [*groups.items(), (("all", "", "", "", ""), runs)]
    ]
    headers = ("network", "arm", "neighbours from", "n", "labels", "runs", "done", "hours left")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _hours(runs: Sequence[Run], done: Results, workers: int) -> str:
    """How long the runs that are not done will take, going by similar ones that are."""
    seconds = defaultdict(list)
    for run, result in done.items():
        seconds[_kind(run)].append(result["seconds"])
    left = [_kind(run) for run in runs if run not in done]
    if any(kind not in seconds for kind in left):
        return "unknown"
    return f"{sum(median(seconds[kind]) for kind in left) / workers / 3600:.1f}"


def _kind(run: Run) -> tuple:
    """What the duration of a run depends on."""
    return run.corpus, run.network, run.neighbors, run.label_share, run.n
