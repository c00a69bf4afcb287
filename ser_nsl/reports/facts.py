"""Every number that the report of a run states, gathered from the run's files."""

import json
import os
import platform
import shlex
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.corpora.manifest import SPLITS, corpus_title, read_manifest
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import GraphStatistics, graph_statistics, or_none, read_clip_graph
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.record import read_record, require_record
from ser_nsl.pipeline.results import EXPERIMENT_NAME, read_scores, summarize
from ser_nsl.reports.trust import gather_trust

_STAGES = (
    "make_synthetic_corpus",
    "prepare_corpus",
    "finetune_upstream",
    "train_head",
    "extract_features",
    "extract_embeddings",
    "extract_mfccs",
    "center_embeddings",
    "fuse_embeddings",
    "probe_embeddings",
    "build_graph",
    "select_edges",
    "pack_neighbors",
    "train_downstream",
    "evaluate",
    "evaluate_baseline",
    "choose_model",
    "export_tflite",
)
_EMBEDDINGS = {
    "upstream": "the upstream's embeddings",
    "mfcc": "MFCCs",
    "fused": "the upstream's embeddings and MFCCs",
    "probe": "the emotions that a linear probe, trained on the training labels, reads from the "
    "upstream's embeddings and MFCCs",
}
_SHARES = ("within_class", "within_speaker", "within_class_across_speakers")
_WARM_UP_RUNS, _TIMED_RUNS = 3, 30


def gather_facts(run: Path) -> dict[str, Any]:
    """Gathers what a report states, and measures the recogniser's latency.

    Shares, UAR and accuracy are in [0, 1]; None stands for what is unknown, such as the spread over
    a single seed. No path of the machine is among the facts.

    Args:
        run: Folder of a finished run.

    Returns:
        Plain data, fit for JSON.

    Raises:
        InputError: If the run has no results, lacks a file, or holds a malformed one.
    """
    labels = list(read_scores(run)["label"])
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    _check_finished(experiment, run)
    scores = {
        label: json.loads((run / "results" / f"{label}.json").read_text()) for label in labels
    }
    results = summarize(run)
    return {
        "name": experiment.name,
        "title": experiment.title,
        "caution": experiment.caution,
        "command": repeat_command(experiment),
        "classes": scores[labels[0]]["classes"],
        "results": results,
        "trust": gather_trust(run, results),
        "confusion_matrices": {label: scores[label]["confusion_matrix"] for label in labels},
        "source": _describe_corpus(
            experiment.source, run / "source" / "manifest.csv", read=experiment.learns
        ),
        "target": _describe_corpus(experiment.target, run / "target" / "manifest.csv"),
        "input": asdict(experiment.front_end) | {"clip_seconds": experiment.clip_seconds},
        "upstream": _describe_upstream(experiment, run / "upstream"),
        "graph": _describe_graph(experiment, run) if experiment.has_graph else None,
        "training": _describe_training(experiment, run, labels[0]),
        "recogniser": _describe_recogniser(run),
        "machine": describe_machine(),
        "stages": _read_seconds(run),
    }


def _check_finished(experiment: Experiment, run: Path) -> None:
    graph = ["graph/graph.tsv.stage.json"] if experiment.has_graph else []
    for name in ["target/manifest.csv", *graph]:
        if not (run / name).is_file():
            raise InputError(
                f"{run}: is no finished run, {name} is missing; run ser-nsl run-pipeline first."
            )


def repeat_command(experiment: Experiment) -> str:
    """Returns the command that repeats a run.

    Args:
        experiment: The experiment of the run.

    Returns:
        `run_pipeline.py` with the shipped experiment of that name, and `--set` for what differs.

    Example:
        >>> repeat_command(load_experiment("smoke", ["training.epochs=3"]))
        'ser-nsl run-pipeline --config smoke --set training.epochs=3'
    """
    try:
        known = _settings(load_experiment(experiment.name))
    except InputError:
        return f"ser-nsl run-pipeline --config {shlex.quote(experiment.name)}.yaml"
    changes = [
        shlex.quote(f"{key}={value}")
        for key, value in _settings(experiment).items()
        if key not in ("title", "caution") and known.get(key) != value
    ]
    command = f"ser-nsl run-pipeline --config {shlex.quote(experiment.name)}"
    return f"{command} --set {' '.join(changes)}" if changes else command


def _settings(experiment: Experiment) -> dict[str, str]:
    """Settings under dotted keys, as `--set` reads them."""
    flat = pd.json_normalize(asdict(experiment)).iloc[0]
    return {
        key: portable(str(value))
        if isinstance(value, str | Path)
        else json.dumps(value, separators=(",", ":"), default=np.generic.item)
        for key, value in flat.items()
    }


def portable(name: str) -> str:
    """Returns a path without the machine's own folders; other names as they are."""
    return f"PATH/TO/{Path(name).name}" if Path(name).is_absolute() else name


def _describe_corpus(
    config: CorpusConfig | None, manifest: Path, *, read: bool = True
) -> dict[str, Any] | None:
    """Facts from a manifest; None if the run did not read this corpus."""
    if config is None or not read:
        return None
    table = read_manifest(manifest)
    speakers = table[table["speaker"] != ""].groupby("split")["speaker"].nunique()
    record = read_record(manifest)
    return {
        "corpus": config.name or corpus_title(config.corpus),
        "synthetic": config.synthetic is not None,
        "split": describe_split(config.split),
        "clips": {split: int((table["split"] == split).sum()) for split in SPLITS},
        "speakers": {split: int(speakers.get(split, 0)) for split in SPLITS},
        "emotions": sorted(set(table["emotion"]) - {""}),
        "left_out": list(config.leave_out),
        "dropped": len(record["counts"]["dropped"]) if record else 0,
    }


def describe_split(config: SplitConfig) -> str:
    """Returns how speakers are divided, in words."""
    details = {
        "balanced": f", seed {config.seed}",
        "speaker-independent": f", seed {config.seed}",
        "clips": f", seed {config.seed} (speakers unknown, so one may stand on both sides)",
        "leave-one-speaker-out": f", fold {config.fold}",
        "count-equivalent": f", list {config.alternative}",
        "emobox": f", fold {config.alternative}",
    }
    return config.method + details.get(config.method, "")


def _describe_upstream(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Where the upstream comes from and what it has learned in this run."""
    facts: dict[str, Any] = {
        "name": portable(experiment.upstream),
        "finetuning": None,
        "head": None,
        "layers": list(experiment.layers),
        "pooling": experiment.pooling,
        "center": experiment.center,
    }
    if experiment.finetuning is not None:
        history = json.loads((folder / "finetuned" / "history.json").read_text())
        counts = require_record(folder / "finetuned")["counts"]
        facts["finetuning"] = {
            "parameters": counts["parameters"],
            "epochs": len(history),
            "kept_epoch": counts["kept_epoch"],
            "val_uar": history[counts["kept_epoch"] - 1]["val_uar"],
        }
    if experiment.head is not None:
        facts["head"] = require_record(folder / "head")["counts"]
    return facts


def _describe_graph(experiment: Experiment, run: Path) -> dict[str, Any]:
    """Statistics of all edges and of those that training uses."""
    graph = run / "graph" / "graph.tsv"
    nodes = read_manifest(run / "target" / "manifest.csv")
    counts = require_record(graph)["counts"]
    nodes = nodes[nodes["split"] == "train"]
    max_neighbors = experiment.graph.max_neighbors
    edges = read_clip_graph(graph, nodes, where="the manifest's rows given")
    every = graph_statistics(edges)
    used = graph_statistics(edges.take(edges.nearest_edges(max_neighbors)))
    return {
        "clips": every.clips,
        "embeddings": _EMBEDDINGS[experiment.graph.embeddings],
        "across_speakers": experiment.graph.across_speakers,
        "similarity_threshold": counts.get(
            "similarity_threshold", experiment.graph.similarity_threshold
        ),
        "hashed": counts["builder"] == "official" and experiment.graph.lsh_splits > 0,
        "max_neighbors": max_neighbors,
        "keeps": experiment.graph.edges,
        "all_edges": _describe_edges(every),
        "training_edges": _describe_edges(used),
        "chance": {name: or_none(getattr(every, f"{name}_chance")) for name in _SHARES},
    }


def _describe_edges(statistics: GraphStatistics) -> dict[str, Any]:
    return statistics.describe_degrees() | {
        "shares": {name: or_none(getattr(statistics, name)) for name in _SHARES}
    }


def _describe_training(experiment: Experiment, run: Path, label: str) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(experiment.training).items() if key != "seed"}
    record = require_record(run / "models" / label)
    starts = {name: portable(str(experiment.starts.get(name, ""))) for name in experiment.networks}
    return settings | {
        "starts": {name: start for name, start in starts.items() if start},
        "altered": _describe_augmentation(experiment),
        "ser_nsl": record["version"],
        "versions": record["versions"],
    }


def _describe_augmentation(experiment: Experiment) -> list[str]:
    """Says in words how training clips are altered; nothing if they are not."""
    config = experiment.training.augmentation
    ways = {
        f"rolled by up to {config.time_shift_frames} frames": config.time_shift_frames,
        f"{config.time_masks} masks along time": config.time_masks,
        f"{config.band_masks} masks of bands": config.band_masks,
        f"themselves or one of {experiment.copies} damaged copies": experiment.copies,
    }
    return [way for way, used in ways.items() if used]


def _describe_recogniser(run: Path) -> dict[str, Any] | None:
    """Facts from the export, and its speed here; None if the run could export nothing."""
    path = run / "recogniser.tflite"
    record = read_record(path)
    if record is None:
        return None
    recognizer = Recognizer(path, threads=1)
    clip_seconds = recognizer.clip_samples / recognizer.sample_rate_hz
    milliseconds = 1000 * _time_predictions(recognizer)
    runtime = recognizer.runtime.replace("_", "-")
    return record["counts"] | {
        "model": require_record(run / "chosen")["counts"]["model"],
        "labels": list(recognizer.labels),
        "clip_seconds": clip_seconds,
        "runtime": f"{runtime} {metadata.version(runtime)}",
        "timed_runs": _TIMED_RUNS,
        "latency_ms_median": float(np.median(milliseconds)),
        "latency_ms_p95": float(np.percentile(milliseconds, 95)),
        "real_time_factor": float(np.median(milliseconds)) / 1000 / clip_seconds,
    }


def _time_predictions(recognizer: Recognizer) -> np.ndarray:
    """Seconds of each timed prediction on a clip of noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, recognizer.clip_samples).astype(np.float32)
    seconds = []
    for _ in range(_WARM_UP_RUNS + _TIMED_RUNS):
        start = time.perf_counter()
        recognizer.predict(noise, recognizer.sample_rate_hz)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds[_WARM_UP_RUNS:])


def describe_machine() -> dict[str, Any]:
    """Returns the model of the CPU, the number of cores, and the system."""
    return {"cpu": _cpu_model(), "cores": os.cpu_count(), "system": platform.system()}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # another system than Linux
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read_seconds(run: Path) -> list[dict[str, Any]]:
    """Wall time of every stage, in the order of the chain."""
    stages = []
    for path in sorted([*run.rglob("stage.json"), *run.rglob("*.stage.json")]):
        if any(part.startswith(".") for part in path.relative_to(run).parts):
            continue  # unfinished work
        record = json.loads(path.read_text())
        if record["stage"] in _STAGES:
            beside = path.with_name(path.name.removesuffix(".stage.json"))
            made = path.parent if path.name == "stage.json" else beside
            stages.append(
                {
                    "stage": record["stage"],
                    "made": made.relative_to(run).as_posix(),
                    "seconds": record["seconds"],
                }
            )
    return sorted(stages, key=lambda each: _STAGES.index(each["stage"]))
