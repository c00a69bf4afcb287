"""How far an arm is above another: by speaker, with its interval and tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ser_nsl.evaluation.statistics import (
    bootstrap_interval,
    holm,
    holm_of_groups,
    mcnemar_test,
    ratio_interval,
    sign_flip_test,
)

_LEVEL = 0.05
_DIGITS = 12


@dataclass(frozen=True)
class Difference:
    """How far an arm is above a reference, on the folds and seeds that both have.

    Probabilities are two-sided and corrected, as Holm does, for the number of differences that are
    compared.

    Attributes:
        pairs: Number of pairs of runs.
        folds: Number of folds.
        clips: Number of test clips.
        by_speaker: From test speaker to the mean over seeds of the difference in UAR.
        mean: Mean over the speakers, in [-1, 1].
        low: Lower end of its 95 % bootstrap interval over speakers; None with too few speakers.
        high: Upper end.
        p_folds: p of the exact test that flips the signs of the folds' means; None for one fold.
        p_speakers: The same of the speakers' means; None as `low`. Speakers who test in one fold
            share its networks, so they count as more than they are.
        p_clips: p of the exact McNemar test over clips, of each seed; none where predictions were
            not kept. Clips of a speaker are no more independent.
    """

    pairs: int
    folds: int
    clips: int
    by_speaker: dict[str, float]
    mean: float
    low: float | None
    high: float | None
    p_folds: float | None
    p_speakers: float | None
    p_clips: list[float]

    @property
    def direction(self) -> int:
        """1 if the arm is above, -1 if below, 0 if interval or test over speakers do not say."""
        p = self.p_speakers
        if self.low is None or self.high is None or p is None or p > _LEVEL:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    @property
    def differs_on_clips(self) -> bool:
        """Whether with every seed other clips are right than chance explains."""
        return bool(self.p_clips) and max(self.p_clips) <= _LEVEL


@dataclass(frozen=True)
class Closed:
    """How much of the distance between base and the upstream an arm closes.

    Attributes:
        distance: How far the linear classifier on the upstream's embeddings is above base, mean
            over speakers.
        share: The arm's gain over base as a share of that; None where there is no distance.
        low: Lower end of its 95 % bootstrap interval over speakers; None where `share` is, with too
            few speakers, and where the distance itself may be zero.
        high: Upper end.
    """

    distance: float
    share: float | None
    low: float | None
    high: float | None


def pair(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the runs of two settings that have the same fold and seed.

    Args:
        ours: Rows of `tabulate_runs`, all of one setting.
        theirs: Rows of another setting.

    Returns:
        The rows that both have, in the same order, by fold and seed.
    """
    ours, theirs = (runs.set_index(["fold", "seed"]) for runs in (ours, theirs))
    shared = ours.index.intersection(theirs.index).sort_values()
    return ours.loc[shared].reset_index(), theirs.loc[shared].reset_index()


def closed_share(
    gains: Mapping[str, float], base: Mapping[str, float], upstream: Mapping[str, float]
) -> Closed | None:
    """Returns how much of the distance to the upstream an arm closes.

    Args:
        gains: Gain in UAR over base, by speaker.
        base: UAR of base, by speaker.
        upstream: UAR of the linear classifier on the upstream's embeddings, by speaker.

    Returns:
        The share over the speakers that all three have; None where they share none.
    """
    speakers = [speaker for speaker in gains if speaker in upstream]
    if not speakers:
        return None
    gained = np.array([gains[speaker] for speaker in speakers])
    distances = np.array([upstream[speaker] - base[speaker] for speaker in speakers]).round(_DIGITS)
    distance = float(distances.mean())
    if distance <= 0:
        return Closed(distance, None, None, None)
    low, high = ratio_interval(gained, distances) or (None, None)
    return Closed(distance, float(gained.mean()) / distance, low, high)


def subtract(ours: pd.DataFrame, theirs: pd.DataFrame) -> Difference | None:
    """Returns how far the runs of a setting are above those of another.

    Args:
        ours: Rows of `tabulate_runs`, all of one setting.
        theirs: Rows of another setting.

    Returns:
        The difference on the folds and seeds that both have, None where they share none;
        probabilities are still to be corrected.
    """
    ours, theirs = pair(ours, theirs)
    if ours.empty:
        return None
    differences = pd.DataFrame(
        [
            (fold, speaker, scores["uar"] - other[speaker]["uar"])
            for fold, own, other in zip(
                ours["fold"], ours["speakers"], theirs["speakers"], strict=True
            )
            for speaker, scores in own.items()
        ],
        columns=["fold", "speaker", "difference"],
    )
    # Rounded, else the last bits of sums that cancel out could lift an interval off zero.
    by_speaker = differences.groupby("speaker")["difference"].mean().round(_DIGITS)
    by_fold = differences.groupby("fold")["difference"].mean().round(_DIGITS)
    low, high = bootstrap_interval(by_speaker.to_numpy()) or (None, None)
    return Difference(
        pairs=len(ours),
        folds=len(by_fold),
        clips=sum(int(np.sum(own["confusion_matrix"].iloc[0])) for _, own in ours.groupby("fold")),
        by_speaker=by_speaker.to_dict(),
        mean=float(by_speaker.mean()),
        low=low,
        high=high,
        p_folds=sign_flip_test(by_fold.to_numpy(), fewest=2),
        p_speakers=sign_flip_test(by_speaker.to_numpy()),
        p_clips=_clip_tests(ours, theirs),
    )


def _clip_tests(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[float]:
    """One p a seed, over the test clips of all folds."""
    if ours["predictions"].isna().any() or theirs["predictions"].isna().any():
        return []
    tests = []
    for seed in sorted(set(ours["seed"])):
        own, other = (_right(runs[runs["seed"] == seed]) for runs in (ours, theirs))
        tests.append(mcnemar_test([*own.values()], [other[name] for name in own]))
    return tests


def _right(runs: pd.DataFrame) -> dict[str, bool]:
    """Whether each test clip is right, by id."""
    return {
        name: true == predicted
        for kept in runs["predictions"]
        for name, (true, predicted) in kept["test"].items()
    }


def correct(differences: Sequence[Difference]) -> list[Difference]:
    """Corrects the probabilities for the number of differences, by kind of test.

    Args:
        differences: All that are compared.

    Returns:
        The same, in the same order, with probabilities as Holm corrects them.
    """
    folds = holm([each.p_folds for each in differences])
    speakers = holm([each.p_speakers for each in differences])
    clips = holm_of_groups([each.p_clips for each in differences])
    return [
        replace(each, p_folds=of_folds, p_speakers=of_speakers, p_clips=of_clips)
        for each, of_folds, of_speakers, of_clips in zip(
            differences, folds, speakers, clips, strict=True
        )
    ]
