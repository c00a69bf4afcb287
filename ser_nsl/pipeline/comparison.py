"""What the results of a sweep say: what was chosen, means, and paired differences between arms."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

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
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import ARMS, BASELINES, STARTS, find_arm
from ser_nsl.pipeline.experiment import LINEAR, WITHOUT_GRAPH, Run
from ser_nsl.pipeline.results import Results

_NUMBERS = ("val_uar", "train_uar", "seconds", "uar", "accuracy", "purity", "epochs", "steps")
_COLUMNS = (
    *(each.name for each in fields(Run)),
    *_NUMBERS,
    *("chosen", "confusion_matrix", "speakers", "classes", "predictions"),
)
_LEVEL = 0.05
_DIGITS = 12


@dataclass(frozen=True)
class Setting:
    """What runs have in common that differ in fold, seed and trial only; see `Run`.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        method: Name of the arm.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss. This and the following are None where trials
            set them.
        layer: Layer whose outputs the graph makes similar.
        distance: Distance between these outputs.
        neighbors: Where neighbours come from.
    """

    network: str
    label_share: float
    method: str
    n: int
    alpha: float | None
    layer: str | None
    distance: str | None
    neighbors: str | None

    @classmethod
    def of(cls, run: Run) -> "Setting":
        """The setting of a run."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(cls)})

    @property
    def graph(self) -> tuple[int, float | None, str | None, str | None, str | None]:
        """How the graph is used, whatever graph it is."""
        return self.n, self.alpha, self.layer, self.distance, self.neighbors


@dataclass(frozen=True)
class Choice:
    """What validation speakers chose for a setting.

    Attributes:
        trial: Name of the trial.
        epochs: Number of epochs.
        val_uar: UAR of the validation speakers then, mean over folds and seeds of the trials.
        steps: Updates an epoch, mean over folds.
        curves: The same UAR after each epoch, of every trial.
    """

    trial: str
    epochs: int
    val_uar: float
    steps: float
    curves: dict[str, list[float]] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """Number of updates."""
        return round(self.epochs * self.steps)


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


@dataclass(frozen=True)
class Comparison:
    """Test scores of a setting.

    Attributes:
        setting: The setting of the runs.
        choice: The trial and the epochs that were chosen; None until all trials are done.
        runs: Number of runs that are done.
        missing: Number of runs that are planned beside them.
        folds: Numbers of the folds done.
        seeds: Seeds done.
        uar: Mean of the runs; None without runs, as are all the following.
        uar_sd: Standard deviation over folds and seeds; None for a single run.
        uar_sd_of_seeds: Standard deviation over seeds of the mean over folds, of the seeds that
            have all folds; None for a single seed.
        accuracy: Mean of the runs.
        train_uar: Mean UAR of the training clips in the last epoch, as augmented.
        purity: Share of the graph's edges that join one emotion, as far as known.
        by_speaker: From test speaker to the mean UAR over seeds.
        against_base: Difference from base; None for base itself, and without pairs.
        against_random: Difference of a graph arm from the random graph that is filtered and used
            in the same way.
        against_pseudo_labels: Difference of an arm that uses what the probe knows in another way
            from plain training on the probe's pseudo-labels.
        closed: Share of the distance to the upstream; None where `against_base` or the linear
            classifier is missing.

    Example:
        >>> from ser_nsl.pipeline import list_runs, load_sweep
        >>> for comparison in compare({}, list_runs(load_sweep("emodb"), ["small"]))[:2]:
        ...     print(comparison.setting.method, comparison.runs, comparison.missing)
        base 0 5
        start_base 0 5
    """

    setting: Setting
    choice: Choice | None
    runs: int
    missing: int
    folds: list[int]
    seeds: list[int]
    uar: float | None
    uar_sd: float | None
    uar_sd_of_seeds: float | None
    accuracy: float | None
    train_uar: float | None
    purity: float | None
    by_speaker: dict[str, float]
    against_base: Difference | None
    against_random: Difference | None
    against_pseudo_labels: Difference | None
    closed: Closed | None

    @property
    def differences(self) -> dict[str, Difference]:
        """Differences that there are, by what they are from."""
        found = {
            "base": self.against_base,
            "random": self.against_random,
            "pseudo_labels": self.against_pseudo_labels,
        }
        return {name: each for name, each in found.items() if each is not None}


@dataclass(frozen=True)
class Baseline:
    """Test scores of a linear classifier.

    Attributes:
        kind: What it reads, a key of `BASELINES`.
        label_share: Share of the training labels that are used.
        runs: Number of runs.
        uar: Mean of the runs.
        uar_sd: Standard deviation over folds and seeds; None for a single run.
        train_uar: Mean UAR of the training clips.
        by_speaker: From test speaker to the mean UAR over seeds.
    """

    kind: str
    label_share: float
    runs: int
    uar: float
    uar_sd: float | None
    train_uar: float | None
    by_speaker: dict[str, float]


def tabulate_runs(results: Results) -> pd.DataFrame:
    """Returns the results as a table.

    Args:
        results: Results by run.

    Returns:
        One row a run, in the same order: the fields of `Run` and of its result, NaN where a result
        lacks one, whether it scores test speakers (`test`), and the run's `setting`.

    Example:
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, trial="shifts")
        >>> tabulate_runs({run: {"val_uar": 0.5}})[["network", "trial", "val_uar", "uar", "test"]]
          network   trial  val_uar  uar   test
        0    cnn6  shifts      0.5  NaN  False
    """
    rows = [asdict(run) | dict(result) for run, result in results.items()]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table = table.astype(dict.fromkeys(_NUMBERS, float))
    tests = np.array([run.test for run in results], bool)
    return table.assign(test=tests, setting=[Setting.of(run) for run in results])


def choose(results: Results, planned: Iterable[Run]) -> dict[Setting, Choice]:
    """Chooses trial and number of epochs of each setting, by validation speakers alone.

    Args:
        results: Results by run.
        planned: Runs of the sweep, of which trials choose.

    Returns:
        Choices of the settings of which all trials are done: the highest mean over folds and seeds
        of the validation UAR after an epoch. Of equal ones the earliest trial, then epoch.

    Example:
        >>> trials = [Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, trial=trial)
        ...     for trial in ("plain", "shifts")]
        >>> curves = ([0.4, 0.5, 0.3], [0.4, 0.6, 0.6])
        >>> results = {run: {"curve": curve, "steps": 10}
        ...     for run, curve in zip(trials, curves, strict=True)}
        >>> (choice,) = choose(results, trials).values()
        >>> choice.trial, choice.epochs, choice.updates
        ('shifts', 2, 20)
    """
    groups: dict[Setting, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in dict.fromkeys(planned):
        if not run.test:
            groups[Setting.of(run)][run.trial].append(run)
    choices = {}
    for setting, trials in groups.items():
        runs = [run for own in trials.values() for run in own]
        if not all(run in results for run in runs):
            continue
        curves = {
            trial: np.mean([results[run]["curve"] for run in own], axis=0)
            for trial, own in trials.items()
        }
        best = max(curves, key=lambda trial: curves[trial].max())  # the first of equals
        epochs = int(curves[best].argmax()) + 1
        choices[setting] = Choice(
            best,
            epochs,
            float(curves[best][epochs - 1]),
            float(np.mean([results[run]["steps"] for run in runs])),
            {trial: curve.tolist() for trial, curve in curves.items()},
        )
    return choices


def compare(results: Results, planned: Iterable[Run]) -> list[Comparison]:
    """Compares the test scores of all settings.

    Args:
        results: Results by run.
        planned: Runs that count as missing until they are done, and trials that choose.

    Returns:
        One comparison for each setting of which a scored run is done or planned: by network, from
        few labels to all, in the order of the arms. Probabilities are corrected for the number of
        all their differences.

    Example:
        >>> scores = {"uar": 0.5, "confusion_matrix": [[1, 1], [1, 1]], "speakers": {}}
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, trial="")
        >>> (base,) = compare({run: scores}, planned=[])
        >>> base.uar, base.runs, base.choice
        (0.5, 1, None)
    """
    planned = [*planned]
    choices = choose(results, planned)
    table = tabulate_runs(results)
    scored = table[table["test"] & (table["network"] != LINEAR)]
    groups = dict(list(scored.groupby("setting", sort=False)))
    missing = Counter(
        Setting.of(run)
        for run in planned
        if run.test and run.network != LINEAR and run not in results
    )
    upstream = {
        each.label_share: each.by_speaker
        for each in compare_baselines(results)
        if each.kind == "upstream"
    }
    return _corrected(
        [
            _compare(
                setting,
                groups,
                scored[:0],
                missing[setting],
                choices.get(setting),
                upstream.get(setting.label_share, {}),
            )
            for setting in _sorted({*groups, *missing})
        ]
    )


def compare_baselines(results: Results) -> list[Baseline]:
    """Returns the test scores of the linear classifiers.

    Args:
        results: Results by run.

    Returns:
        One for each share of the labels and kind of embedding that is done.
    """
    table = tabulate_runs({run: own for run, own in results.items() if run.network == LINEAR})
    groups = dict(list(table.groupby(["label_share", "method"])))
    return [
        Baseline(
            kind=kind,
            label_share=share,
            runs=len(groups[share, kind]),
            uar=float(groups[share, kind]["uar"].mean()),
            uar_sd=or_none(groups[share, kind]["uar"].std()),
            train_uar=or_none(groups[share, kind]["train_uar"].mean()),
            by_speaker=_by_speaker(groups[share, kind]),
        )
        for share in sorted(set(table["label_share"]))
        for kind in BASELINES
        if (share, kind) in groups
    ]


def arm_order(method: str) -> tuple[int, int, str]:
    """Returns a sort key: the order of `ARMS`, oracles with wrong edges after the oracle.

    Arms of networks that were taught before stand behind all others.
    """
    start, names = find_arm(method).start, list(ARMS)
    name = method.removeprefix(start)
    place = names.index(name if name in ARMS else "oracle")
    return [*STARTS].index(start) + 1 if start else 0, place, "" if name in ARMS else name


def _sorted(settings: Iterable[Setting]) -> list[Setting]:
    return sorted(settings, key=lambda s: (s.network, s.label_share, arm_order(s.method), *s.graph))


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


def _compare(
    setting: Setting,
    groups: Mapping[Setting, pd.DataFrame],
    no_runs: pd.DataFrame,
    missing: int,
    choice: Choice | None,
    upstream: Mapping[str, float],
) -> Comparison:
    runs = groups.get(setting, no_runs)
    arm = find_arm(setting.method)

    def of(method: str | None, graph: tuple = WITHOUT_GRAPH) -> pd.DataFrame:
        if method is None:
            return no_runs
        reference = Setting(setting.network, setting.label_share, method, *graph)
        return no_runs if reference == setting else groups.get(reference, no_runs)

    against_base = _subtract(runs, of("base"))
    closed = None
    if against_base is not None:
        closed = _closed(against_base.by_speaker, _by_speaker(of("base")), upstream)
    by_seed = runs.pivot_table(index="seed", columns="fold", values="uar").dropna()
    nominal = 1.0 if arm.control == "oracle" and arm.purity is None else arm.purity
    measured = or_none(runs["purity"].mean())
    return Comparison(
        setting=setting,
        choice=choice,
        runs=len(runs),
        missing=missing,
        folds=sorted(set(runs["fold"])),
        seeds=sorted(set(runs["seed"])),
        uar=or_none(runs["uar"].mean()),
        uar_sd=or_none(runs["uar"].std()),
        uar_sd_of_seeds=or_none(by_seed.mean(axis=1).std()),
        accuracy=or_none(runs["accuracy"].mean()),
        train_uar=or_none(runs["train_uar"].mean()),
        purity=nominal if measured is None else measured,
        by_speaker=_by_speaker(runs),
        against_base=against_base,
        against_random=_subtract(runs, of(arm.random_control, setting.graph)),
        against_pseudo_labels=_subtract(runs, of(arm.hard_control)),
        closed=closed,
    )


def _by_speaker(runs: pd.DataFrame) -> dict[str, float]:
    """Mean UAR over seeds of each test speaker."""
    found = defaultdict(list)
    for scores in runs["speakers"]:
        for speaker, own in scores.items():
            found[speaker].append(own["uar"])
    return {speaker: float(np.mean(values)) for speaker, values in found.items()}


def _closed(
    gains: Mapping[str, float], base: Mapping[str, float], upstream: Mapping[str, float]
) -> Closed | None:
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


def _subtract(ours: pd.DataFrame, theirs: pd.DataFrame) -> Difference | None:
    """Compares runs; probabilities are still to be corrected."""
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


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Corrects the probabilities of all differences for their number, by kind of test."""
    found = [each for one in comparisons for each in one.differences.values()]
    folds, speakers = (
        holm([getattr(each, name) for each in found]) for name in ("p_folds", "p_speakers")
    )
    clips = holm_of_groups([each.p_clips for each in found])
    corrected = iter(
        [
            replace(each, p_folds=of_folds, p_speakers=of_speakers, p_clips=of_clips)
            for each, of_folds, of_speakers, of_clips in zip(
                found, folds, speakers, clips, strict=True
            )
        ]
    )
    changes: list[dict[str, Any]] = [
        {f"against_{name}": next(corrected) for name in one.differences} for one in comparisons
    ]
    return [replace(one, **own) for one, own in zip(comparisons, changes, strict=True)]
