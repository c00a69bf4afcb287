"""Scores the training of `everyone` on corpora that it did not learn from, each left out in turn.

    python -m benchmarks.release.left_out --run runs/everyone --out runs/left_out

Speakers of the left-out corpus test, all others of the run train or validate. Features and
embeddings of the run are divided anew; epochs, start and method are those of the run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.special
import tensorflow as tf

from benchmarks.release.four_emotions import CORPORA
from ser_nsl.audio.features import Description
from ser_nsl.audio.resplit import resplit_records
from ser_nsl.cli import run_function
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.edge import Adaptation
from ser_nsl.evaluation.scores import score
from ser_nsl.networks.saved import read_model
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.results import EXPERIMENT_NAME
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.data import labelled_clips
from ser_nsl.training.train import train_downstream

_ORDERS = 20


class _Answering(NamedTuple):
    """What an adaptation asks of a recogniser."""

    name: str
    labels: tuple[str, ...]
    typical: tuple[float, ...]


@stage(inputs=("run",), makes="folder")
def leave_corpora_out(*, run: Path, out: Path) -> Mapping[str, Any]:
    """Trains without each corpus in turn, and tests on all of its clips.

    Adapted: each speaker's clips are heard in 20 random orders; each is learned without its label
    before its answer is adapted.

    Args:
        run: Finished run of `everyone`.
        out: Folder for the trainings and `left_out.json`: for each corpus `corpus`, `clips`, `uar`
            and `adapted`.

    Returns:
        UAR as it is and adapted, by corpus.
    """
    rows = [{"corpus": name, **_leave_out(name, run, out / name)} for name in CORPORA]
    (out / "left_out.json").write_text(json.dumps(rows, indent=1) + "\n")
    return {row["corpus"]: f"{row['uar']:.1%}, adapted {row['adapted']:.1%}" for row in rows}


def _leave_out(corpus: str, run: Path, work: Path) -> dict[str, Any]:
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    table = read_manifest(run / "target" / "manifest.csv")
    tests = table["utterance_id"].str.startswith(f"{corpus}_")
    table["split"] = table["split"].replace("test", "train").where(~tests, "test")
    work.mkdir()
    manifest = work / "manifest.csv"
    write_manifest(table, manifest)
    for name in ("features", "uncentered"):
        resplit_records(records=run / name, manifest=manifest, out=work / name)
    network = experiment.networks[0]
    train_downstream(
        features=work / "features",
        embeddings=work / "uncentered",
        method="embedding",
        model=network,
        start=experiment.starts.get(network),
        training=experiment.training,
        out=work / "model",
    )
    model, description = read_model(work / "model")
    found = {split: _probabilities(model, work, split, description) for split in ("val", "test")}
    typical = np.log(found["val"][0]).mean(axis=0)
    recogniser = _Answering(corpus, description.classes, tuple(typical.tolist()))
    probabilities, labels, ids = found["test"]
    clips = table.set_index("utterance_id").loc[ids]
    seconds = clips["duration_seconds"].clip(upper=experiment.clip_seconds)
    adapted = [
        _adapted(recogniser, probabilities, clips["speaker"], seconds, seed)
        for seed in range(_ORDERS)
    ]
    return {
        "clips": len(ids),
        "uar": _uar(labels, probabilities, description),
        "adapted": float(np.mean([_uar(labels, each, description) for each in adapted])),
    }


def _probabilities(
    model: tf.keras.Model, work: Path, split: str, description: Description
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns probabilities, labels and ids of the clips of a split."""
    clips = labelled_clips(work / "features", [split], description)
    logits = model.predict(clips.dataset.batch(64), verbose=0)
    labels = np.array([*clips.labels.values()])
    return scipy.special.softmax(logits, axis=1), labels, [*clips.labels]


def _adapted(
    recogniser: _Answering,
    probabilities: np.ndarray,
    speakers: pd.Series,
    seconds: pd.Series,
    seed: int,
) -> np.ndarray:
    """Returns the answers to each speaker's clips, heard in a random order."""
    answers = np.empty_like(probabilities)
    order = np.random.default_rng(seed).permutation(len(probabilities))
    adaptations = {speaker: Adaptation(recogniser) for speaker in speakers.unique()}
    for row in order:
        adaptation = adaptations[speakers.iloc[row]]
        answer = dict(zip(recogniser.labels, probabilities[row].tolist(), strict=True))
        adaptation.learn(answer, seconds.iloc[row])
        answers[row] = [*adaptation.adapt(answer).values()]
    return answers


def _uar(labels: np.ndarray, probabilities: np.ndarray, description: Description) -> float:
    return score(labels, probabilities.argmax(axis=1), description.classes)["uar"]


if __name__ == "__main__":
    run_function(leave_corpora_out)
