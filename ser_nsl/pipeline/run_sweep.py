"""Runs what a sweep lists and has not done yet."""

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
from typing import Any, cast

import numpy as np
import pandas as pd
import tensorflow as tf
from tabulate import tabulate
from tqdm import tqdm

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import UNLABELLED, read_labels
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation.model import evaluate, read_metrics
from ser_nsl.evaluation.scores import score
from ser_nsl.networks import NetworkName
from ser_nsl.pipeline.arms import find_arm
from ser_nsl.pipeline.folds import features_of, fold_steps, records_of, split_of
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import run_steps
from ser_nsl.pipeline.sweep import Run, SweepConfig, list_runs, load_sweep
from ser_nsl.pipeline.sweep_results import Results, add_result, read_results
from ser_nsl.training.data import training_clips
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.train import check_networks, train_downstream

RESULTS_NAME = "runs.jsonl"
SETTINGS_NAME = "sweep.yaml"
_OF_GRAPH = ("alpha", "layer", "distance", "neighbors")  # what a run with a graph sets of training
_OF_RUNS = ("label_share", "seed")  # what every run sets
_FAILURES = (InputError, BrokenProcessPool, MemoryError, tf.errors.OpError)  # of one training


def run_sweep(
    config: SweepConfig,
    out: Path,
    *,
    grids: Sequence[str] = (),
    work: Path,
    workers: int = 1,
    dry_run: bool = False,
) -> str:
    """Runs what has not been run, one line of the results file each.

    A sweep may be stopped at any time; run again, it goes on.

    Args:
        config: The sweep.
        out: Folder of the results file `runs.jsonl`.
        grids: Names of grids; empty for the default ones, `all` for every one.
        work: Folder for what runs share: features, embeddings, graphs.
        workers: Trainings at a time; the cores are divided among them.
        dry_run: Only say what would run, and how long that would take.

    Returns:
        How many runs there are of each kind, how many of them are done, and the hours that the
        others are expected to take.

    Raises:
        InputError: As the stages, or if the results file is damaged, a network lacks the layer, or
            trainings failed, of which the others are done all the same.
    """
    if workers < 1:
        raise InputError(f"workers: must be at least 1; received {workers}.")
    path = out / RESULTS_NAME
    runs = list_runs(config, grids)
    done = read_results(path)
    if (out / SETTINGS_NAME).exists():
        _check_settings(config, out / SETTINGS_NAME)
    left = [run for run in runs if run not in done]
    if dry_run or not left:
        return _describe(runs, done, workers)
    layers = {run.layer for run in left if run.layer}
    check_networks({run.network for run in left}, layers, config.front_end, config.clip_seconds)
    out.mkdir(parents=True, exist_ok=True)
    save_settings(config, out / SETTINGS_NAME)
    for fold in sorted({run.fold for run in left}):
        folder, of_fold = work / f"fold{fold}", [run for run in left if run.fold == fold]
        run_steps(fold_steps(config, split_of(config, fold, folder), folder, of_fold))
    threads = max(1, (os.cpu_count() or 1) // workers)
    failed: list[tuple[Run, Exception]] = []
    with tqdm(total=len(left), desc="sweep", unit="run") as bar:
        for start in range(0, len(left), workers * _RUNS_A_PROCESS):
            some = left[start : start + workers * _RUNS_A_PROCESS]
            for run, result in _run_in_processes(config, some, work, workers, threads):
                if isinstance(result, Exception):
                    failed.append((run, result))
                else:
                    done[run] = result
                    add_result(path, run, result)
                bar.set_postfix_str(f"{_hours(left, done, workers)} left")
                bar.update()
    if failed:
        run, error = failed[0]
        raise InputError(
            f"{len(failed)} of {len(left)} trainings failed; the others are in {path}. The first "
            f"was {run.network}, {run.method}, fold {run.fold}, seed {run.seed}: {_why(error)}"
        )
    return _describe(runs, done, workers)


def _why(error: Exception) -> str:
    if isinstance(error, BrokenProcessPool | MemoryError | tf.errors.ResourceExhaustedError):
        return "memory ran out, or its process was killed; run again with fewer --workers"
    return str(error)


def _run_in_processes(
    config: SweepConfig, runs: Sequence[Run], work: Path, workers: int, threads: int
) -> Iterator[tuple[Run, dict[str, Any] | Exception]]:
    """Yields runs with their results, or why there are none, each when it is done.

    The processes end with the last one. Executors that renew theirs by themselves
    (`max_tasks_per_child`) may wait for ever when one is due, as of Python 3.11.
    """
    with _processes(workers, threads) as pool:
        waiting = {pool.submit(train_and_score, config, run, work): run for run in runs}
        try:
            for each in as_completed(waiting):
                error = each.exception()
                yield waiting[each], error if isinstance(error, _FAILURES) else each.result()
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


def _check_settings(config: SweepConfig, path: Path) -> None:
    """Refuses to put runs beside those of other settings; grids and what runs set may change.

    A setting that is newer than the runs had its default then.
    """
    set_by_runs = [f"training.{name}" for name in (*_OF_GRAPH, *_OF_RUNS, "edges")]
    flat, flat_before = (
        pd.json_normalize(asdict(each)).iloc[0] for each in (config, load_sweep(str(path)))
    )
    for name, value in flat.items():
        if name.split(".")[0] in ("grids", "default", "title", "caution") or name in set_by_runs:
            continue
        before = flat_before.get(name)
        if before != value:
            raise InputError(
                f"{path.parent}: its runs were made with other settings ({name}: {before}, not "
                f"{value}); give another --out."
            )


def _describe(runs: Sequence[Run], done: Results, workers: int) -> str:
    groups = defaultdict(list)
    for run in runs:
        groups[run.network, run.method, run.neighbors, run.n, run.label_share].append(run)
    rows: list[tuple] = [
        (
            *group,
            len(of_group),
            sum(run in done for run in of_group),
            _hours(of_group, done, workers),
        )
        for group, of_group in groups.items()
    ]
    rows.append(
        (
            "all",
            "",
            "",
            "",
            "",
            len(runs),
            sum(run in done for run in runs),
            _hours(runs, done, workers),
        )
    )
    headers = ("network", "arm", "neighbours from", "n", "labels", "runs", "done", "hours left")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _hours(runs: Sequence[Run], done: Results, workers: int) -> str:
    """How long the runs that are not done will take, by the like that are."""
    seconds = [_expected_seconds(run, done) for run in runs if run not in done]
    known = [each for each in seconds if each is not None]
    if len(known) < len(seconds):
        return "unknown"
    return f"{sum(known) / workers / 3600:.1f}"


def _expected_seconds(run: Run, done: Results) -> float | None:
    for kind in (_KIND, _KIND[:4], _KIND[:3], _KIND[:2]):
        alike = [
            result["seconds"]
            for other, result in done.items()
            if all(getattr(run, name) == getattr(other, name) for name in kind)
        ]
        if alike:
            return median(alike)
    return None


_KIND = ("corpus", "network", "neighbors", "label_share", "n")
"""What the duration of a run depends on, most of all the first."""


_RUNS_A_PROCESS = 10  # TensorFlow keeps some 150 MB of every run


def _prepare_worker(threads: int) -> None:
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


def train_and_score(config: SweepConfig, run: Run, work: Path) -> dict[str, Any]:
    """Trains a network and scores it.

    Args:
        config: The sweep.
        run: Which training.
        work: Folder of the sweep, where the fold has been prepared.

    Returns:
        A line of the results, as `ser_nsl.pipeline.sweep_results.Results` says.
    """
    start = time.monotonic()
    folder, arm = work / f"fold{run.fold}", find_arm(run.method)
    features, splits = folder / "features", config.splits(run)
    clips = len(read_labels(features, *splits))
    training = training_of(config.training, run, steps=-(-clips // config.training.batch_size))
    if "val" in splits:
        training = replace(training, keep="last", patience=0)
    embeddings = folder / "uncentered" / "upstream" if arm.joins else None
    with TemporaryDirectory() as temporary:
        model, scores = Path(temporary) / "model", Path(temporary) / "scores.json"
        trained = train_downstream(
            features=features_of(folder, run),
            out=model,
            model=cast(NetworkName, run.network),  # as Grid has checked
            method=arm.method,
            training_records=records_of(config, folder, run) if arm.likeness else None,
            max_neighbors=run.n,
            embeddings=embeddings,
            splits=splits,
            training=replace(training, edges=arm.edges) if arm.likeness else training,
        )
        result = {"kept_epoch": trained.counts["kept_epoch"]}
        if "val" not in splits:
            history = json.loads((model / "history.json").read_text())
            result["val_uar"] = history[result["kept_epoch"] - 1]["val_uar"]
        if arm.likeness is not None:
            result["purity"] = _purity(config, folder, run, training.label_share)
        if run.test:
            evaluate(model_dir=model, records=features, out=scores, embeddings=embeddings)
            result |= _by_speaker(read_metrics(scores), features, folder / "manifest.csv")
    return result | {"seconds": round(time.monotonic() - start, 1)}


def training_of(training: TrainingConfig, run: Run, *, steps: int) -> TrainingConfig:
    """The settings of one training.

    Args:
        training: What runs do not set.
        run: What it sets.
        steps: Steps an epoch.
    """
    graph = {name: getattr(run, name) for name in _OF_GRAPH} if run.n else {}
    own = {name: getattr(run, name) for name in _OF_RUNS}
    if find_arm(run.method).guessed:
        own["label_share"] = 1.0  # the others are filled in
    return replace(training, epoch_steps=steps, **own, **graph)


def _purity(config: SweepConfig, folder: Path, run: Run, label_share: float) -> float | None:
    """Share of the edges used that join clips of one emotion, whether training knows it or not."""
    features = folder / "features"
    clips = training_clips(
        records_of(config, folder, run),
        ("train",),
        Description.load(features),
        neighbors=run.n,
        source="batch",
        agreeing=find_arm(run.method).edges == "agreeing",
        label_share=label_share,
        seed=run.seed,
    )
    emotion_of = read_labels(features, *config.splits(run))
    emotions = np.array([emotion_of[utterance_id] for utterance_id in clips.ids])
    own, others = emotions[:, np.newaxis], emotions[clips.neighbors]
    told = (clips.weights > 0) & (own != UNLABELLED) & (others != UNLABELLED)
    if run.neighbors != "batch":  # whose clips without a label have no loss of their own
        told[clips.unlabelled] = False
    return float((own == others)[told].mean()) if told.any() else None


def _by_speaker(scores: dict[str, Any], features: Path, manifest: Path) -> dict[str, Any]:
    speakers = read_manifest(manifest).set_index("utterance_id")["speaker"]
    classes = Description.load(features).classes
    labels, ids = read_labels(features, "test"), defaultdict(list)
    for utterance_id in scores["predictions"]:
        ids[speakers[utterance_id]].append(utterance_id)
    by_speaker = {}
    for speaker, own in sorted(ids.items()):
        predicted = [classes.index(scores["predictions"][each]) for each in own]
        result = score(np.array([labels[each] for each in own]), np.array(predicted), classes)
        by_speaker[speaker] = {"uar": result["uar"], "clips": result["clips"]}
    names = ("uar", "accuracy", "clips", "classes", "confusion_matrix")
    kept = {name: scores[name] for name in names}
    return kept | {"speakers": by_speaker}
