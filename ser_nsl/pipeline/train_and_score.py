"""Trains and scores one run of a sweep."""

import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.audio.records import read_labels
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.evaluation.model import read_metrics
from ser_nsl.pipeline.choice import Choice
from ser_nsl.pipeline.plan import Plan, Training
from ser_nsl.pipeline.plan_folds import plan_folds, sweep_training
from ser_nsl.pipeline.sweep_config import SweepConfig
from ser_nsl.pipeline.sweep_run import LINEAR, Run

_DIGITS = 4  # of curves


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
