"""How far the scores of a run can be trusted: baselines, speakers, tests, and warnings in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation.model import read_metrics
from ser_nsl.evaluation.scores import score_speakers
from ser_nsl.evaluation.statistics import (
    FEWEST_SPEAKERS,
    holm,
    holm_of_groups,
    mcnemar_test,
    sign_flip_test,
    smallest_p,
    uar_interval,
)
from ser_nsl.pipeline.arms import BASELINES
from ser_nsl.pipeline.results import baseline_label, model_label

_OVERFITTED = 0.2  # UAR of the training clips above that of the test clips
_DEVIATIONS = 2  # from chance, of a recogniser that guesses


def gather_trust(run: Path, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gathers what says how far a run's scores can be trusted.

    Args:
        run: Folder of a finished run.
        results: Its results, as `summarize` returns them.

    Returns:
        `systems`: every network and method, then the linear classifiers, with `name`, `uar`,
        `train_uar` and `val_uar` (None where unknown), `speakers` (UAR by speaker) and `interval`
        (95 %, over speakers; None with fewer than six). All are means over seeds.
        `tests`: differences between two systems, with `name`, `against`, `gain`, and two-sided p
        corrected for their number: `p_clips`, smallest and largest of the seeds, and `p_speakers`
        (None with fewer than six). `floors`: the smallest p that a test can give before correction,
        over `clips` and `speakers`. `warnings`: sentences. Shares are in [0, 1].

    Raises:
        InputError: If a result is missing or malformed.
    """
    clips = read_manifest(run / "target" / "manifest.csv").set_index("utterance_id")
    read = {
        (row["network"], row["method"]): [
            _read_network(run, model_label(row["network"], row["method"], seed))
            for seed in row["seeds"]
        ]
        for row in results
    }
    systems = {pair: _System(" ".join(pair), found, clips) for pair, found in read.items()}
    baselines = [
        _System(f"linear classifier on {title}", [_read_baseline(run, kind)], clips)
        for kind, title in BASELINES.items()
    ]
    pairs = [
        (system, systems[network, "base"])
        for (network, method), system in systems.items()
        if method != "base" and (network, "base") in systems
    ]
    best = max(baselines, key=lambda baseline: baseline.val_uar or 0.0)
    pairs += [(system, best) for system in systems.values()]
    count = len(best.speakers)
    classes, of_class = best.classes, clips.loc[[*best.predictions[0]], "emotion"].value_counts()
    return {
        "systems": [system.facts() for system in (*systems.values(), *baselines)],
        "tests": _test(pairs),
        "floors": {
            "clips": smallest_p(len(best.predictions[0])),
            "speakers": smallest_p(count) if count >= FEWEST_SPEAKERS else None,
        },
        "fewest_speakers": FEWEST_SPEAKERS,
        "warnings": [
            sentence
            for system in systems.values()
            for sentence in _warn(system, baselines, [of_class.get(name, 0) for name in classes])
        ],
    }


class _System:
    """A network with a method, or a linear classifier; its results are those of its seeds."""

    def __init__(
        self, name: str, results: Sequence[Mapping[str, Any]], clips: pd.DataFrame
    ) -> None:
        self.name, self.classes = name, results[0]["classes"]
        self.predictions = [dict(result["predictions"]) for result in results]
        self.uar = float(np.mean([result["uar"] for result in results]))
        self.train_uar = _mean_if_known([result.get("train_uar") for result in results])
        self.val_uar = _mean_if_known([result.get("val_uar") for result in results])
        self.right = [
            {each: clips.at[each, "emotion"] == found for each, found in predicted.items()}
            for predicted in self.predictions
        ]
        of_seeds = [score_speakers(each, clips, self.classes) for each in self.predictions]
        self.speakers = {
            speaker: float(np.mean([scores[speaker]["uar"] for scores in of_seeds]))
            for speaker in of_seeds[0]
        }
        confusions = [
            sum(np.array(scores[speaker]["confusion_matrix"]) for scores in of_seeds)
            for speaker in of_seeds[0]
        ]
        self.interval = uar_interval(np.array(confusions)) if confusions else None

    def facts(self) -> dict[str, Any]:
        """What the report states of it."""
        names = ("name", "uar", "train_uar", "val_uar", "speakers", "interval")
        return {name: getattr(self, name) for name in names}


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _read_network(run: Path, label: str) -> dict[str, Any]:
    """Scores of a network, and those of the epoch that was kept."""
    scores = read_metrics(run / "results" / f"{label}.json")
    history = json.loads((run / "models" / label / "history.json").read_text())
    record = json.loads((run / "models" / label / "stage.json").read_text())
    kept = history[record["counts"]["kept_epoch"] - 1]
    return scores | {"train_uar": kept.get("uar"), "val_uar": kept.get("val_uar")}


def _read_baseline(run: Path, kind: str) -> dict[str, Any]:
    path = run / "results" / f"{baseline_label(kind)}.json"
    if not path.is_file():
        raise InputError(f"{run}: has no {path.name}; run ser-nsl run-pipeline until it ends.")
    return read_metrics(path)


def _test(pairs: Sequence[tuple[_System, _System]]) -> list[dict[str, Any]]:
    """Compares pairs of systems by clips and by speakers."""
    corrected = holm_of_groups([_clip_tests(*pair) for pair in pairs])
    of_speakers = holm(
        [
            sign_flip_test([uar - other.speakers[name] for name, uar in own.speakers.items()])
            for own, other in pairs
        ]
    )
    return [
        {
            "name": own.name,
            "against": other.name,
            "gain": own.uar - other.uar,
            "p_clips": [min(clips), max(clips)],
            "p_speakers": speakers,
        }
        for (own, other), clips, speakers in zip(pairs, corrected, of_speakers, strict=True)
    ]


def _clip_tests(own: _System, other: _System) -> list[float]:
    """One p a seed; a system with a single result meets each seed of the other."""
    others = other.right * len(own.right) if len(other.right) == 1 else other.right
    return [
        mcnemar_test([*right.values()], [compared[name] for name in right])
        for right, compared in zip(own.right, others, strict=True)
    ]


def _warn(system: _System, baselines: Sequence[_System], clips: Sequence[int]) -> Iterator[str]:
    """Says in words what its numbers mean."""
    low = system.interval and system.interval[0]
    name, uar = system.name, system.uar
    yield from warn(name, uar=uar, low=low, train_uar=system.train_uar, clips=clips)
    above = [f"a {each.name} ({each.uar:.1%})" for each in baselines if each.uar > uar]
    if above:
        yield f"{name} ({uar:.1%} UAR) is below the baseline: {' and '.join(above)}."


def warn(
    name: str,
    *,
    uar: float,
    low: float | None,
    train_uar: float | None,
    clips: Sequence[int],
) -> Iterator[str]:
    """Says in words what the scores of a network mean.

    Args:
        name: Name of the network and what it learned from.
        uar: UAR of the test clips, in [0, 1].
        low: Lower end of its interval over speakers; None with too few.
        train_uar: UAR of the training clips; None where it is unknown.
        clips: Number of test clips of each class.

    Yields:
        Sentences: barely above chance, overfitted.

    Example:
        >>> for warning in warn("cnn6", uar=0.5, low=None, train_uar=0.5, clips=[20, 20]):
        ...     print(warning.partition(".")[0])
        cnn6 is barely above chance: 50
    """
    chance = 1 / len(clips)
    of_class = np.array([count for count in clips if count])
    spread = np.sqrt((chance * (1 - chance) / of_class).sum()) / len(of_class)
    if uar < chance + _DEVIATIONS * spread or (low is not None and low <= chance):
        yield (
            f"{name} is barely above chance: {uar:.1%} UAR, by chance {chance:.1%}"
            + (f", 95 % interval over speakers from {low:.1%}" if (low or 1.0) <= chance else "")
            + ". It may have learned nothing about emotion."
        )
    if train_uar is not None and train_uar - uar > _OVERFITTED:
        yield (
            f"{name} is overfitted: {train_uar:.1%} UAR on the clips that trained it, {uar:.1%} on "
            "those of other speakers. More speakers, augmentation or a smaller network may help."
        )
