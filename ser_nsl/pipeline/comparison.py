"""What the results of a sweep say: means, and paired differences between arms."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import ARMS, BASELINES, STARTS, find_arm
from ser_nsl.pipeline.choice import Choice, choose
from ser_nsl.pipeline.differences import Closed, Difference, closed_share, correct, subtract
from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.sweep_run import LINEAR, WITHOUT_GRAPH, Run, Setting

_NUMBERS = ("val_uar", "train_uar", "seconds", "uar", "accuracy", "purity", "epochs", "steps")
_COLUMNS = (
    *(each.name for each in fields(Run)),
    *_NUMBERS,
    *("chosen", "confusion_matrix", "speakers", "classes", "predictions"),
)


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
    return table.assign(test=tests, setting=[run.setting for run in results])


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
        run.setting for run in planned if run.test and run.network != LINEAR and run not in results
    )
    upstream = {
        each.label_share: each.by_speaker
        for each in compare_baselines(results)
        if each.kind == "upstream"
    }
    return _correct(
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

    against_base = subtract(runs, of("base"))
    closed = None
    if against_base is not None:
        closed = closed_share(against_base.by_speaker, _by_speaker(of("base")), upstream)
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
        against_random=subtract(runs, of(arm.random_control, setting.graph)),
        against_pseudo_labels=subtract(runs, of(arm.hard_control)),
        closed=closed,
    )


def _by_speaker(runs: pd.DataFrame) -> dict[str, float]:
    """Mean UAR over seeds of each test speaker."""
    found = defaultdict(list)
    for scores in runs["speakers"]:
        for speaker, own in scores.items():
            found[speaker].append(own["uar"])
    return {speaker: float(np.mean(values)) for speaker, values in found.items()}


def _correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Corrects the probabilities of all differences for their number."""
    corrected = iter(correct([each for one in comparisons for each in one.differences.values()]))
    changes: list[dict[str, Any]] = [
        {f"against_{name}": next(corrected) for name in one.differences} for one in comparisons
    ]
    return [replace(one, **own) for one, own in zip(comparisons, changes, strict=True)]
