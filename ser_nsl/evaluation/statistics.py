"""What the runs of a sweep tell: means, paired differences between arms, and how sure they are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, permutation_test
from sklearn.metrics import accuracy_score, recall_score

from ser_nsl.evaluation.scores import z_test
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import ARMS, find_arm
from ser_nsl.pipeline.sweep import Run
from ser_nsl.pipeline.sweep_results import Results

FEWEST_SPEAKERS = 6
"""For an interval and a test: that fewer all differ in one direction happens by chance more often
than one time in twenty."""

_GRAPH = ("n", "alpha", "layer", "distance", "neighbors")
_SETTING = ("network", "label_share", "method", *_GRAPH)
_NUMBERS = ("val_uar", "seconds", "uar", "accuracy", "purity")
_COLUMNS = (
    *(field.name for field in fields(Run)),
    *_NUMBERS,
    *("confusion_matrix", "speakers", "classes"),
)
_RESAMPLES = 9_999
_FLIPS = 2**16
_LEVEL = 0.05
_DIGITS = 12


@dataclass(frozen=True)
class Setting:
    """What runs have in common that differ in fold and seed only.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        method: Name of the arm.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss.
        layer: Layer whose outputs are made alike.
        distance: What is measured there.
        neighbors: Where they come from.
    """

    network: str
    label_share: float
    method: str
    n: int
    alpha: float
    layer: str
    distance: str
    neighbors: str

    @property
    def graph(self) -> tuple[int, float, str, str, str]:
        """How the graph is used, whatever graph it is."""
        return self.n, self.alpha, self.layer, self.distance, self.neighbors


@dataclass(frozen=True)
class Difference:
    """How far an arm is above a reference, on the folds and seeds that both have.

    Attributes:
        pairs: Pairs of runs.
        by_speaker: From test speaker to the mean over seeds of the difference in UAR.
        mean: Mean over the speakers, in [-1, 1].
        low: Lower end of its 95 % bootstrap interval over speakers; None with fewer than
            `FEWEST_SPEAKERS`.
        high: Upper end.
        p_flips: Two-sided test that flips the signs of the speakers' differences, exact up to 16 of
            them; None as `low`. Intervals over few speakers are too narrow, so both are asked.
        p_better: One-tailed z-test on the UAR of all test clips, each once, that the arm is better.
    """

    pairs: int
    by_speaker: dict[str, float]
    mean: float
    low: float | None
    high: float | None
    p_flips: float | None
    p_better: float

    @property
    def direction(self) -> int:
        """1 if the arm is above, -1 if it is below, 0 if it cannot be told."""
        if self.low is None or self.high is None or self.p_flips is None or self.p_flips > _LEVEL:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Test scores of a setting.

    Attributes:
        setting: Of the runs.
        runs: How many are done.
        missing: How many are planned beside them.
        folds: Numbers of the folds done.
        seeds: Those done.
        uar: Mean of the runs; None without runs, as are all the following.
        uar_sd: Standard deviation over folds and seeds; None for a single run.
        uar_sd_of_seeds: Standard deviation over seeds of the mean over folds, of the seeds that
            have all folds; None for a single seed.
        accuracy: Mean of the runs.
        val_uar: Mean UAR of the kept epochs on the validation speakers, of all runs that have
            not trained on these.
        purity: Share of the graph's edges that join one emotion, as far as known.
        against_base: None for base itself, and without pairs.
        against_random: Of graph arms, against the random graph chosen among and used in the same
            way.
        against_guessed: Of graph arms that know what the probe knows, against plain training on
            its guesses.
    """

    setting: Setting
    runs: int
    missing: int
    folds: list[int]
    seeds: list[int]
    uar: float | None
    uar_sd: float | None
    uar_sd_of_seeds: float | None
    accuracy: float | None
    val_uar: float | None
    purity: float | None
    against_base: Difference | None
    against_random: Difference | None
    against_guessed: Difference | None


def tabulate_runs(results: Results) -> pd.DataFrame:
    """Makes a table of the results.

    Args:
        results: The runs that are done.

    Returns:
        One row a run, in the same order: the settings of `Run` and what came of it; NaN for what
        a line does not tell. `setting` is that of the run.
    """
    rows = [asdict(run) | dict(result) for run, result in results.items()]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table = table.astype({"test": bool} | dict.fromkeys(_NUMBERS, float))
    return table.assign(setting=[_setting_of(run) for run in results])


def compare(results: Results, planned: Iterable[Run]) -> list[Comparison]:
    """Compares the test scores of all settings.

    Args:
        results: The runs that are done.
        planned: The runs that shall be done at some time.

    Returns:
        One comparison a setting of which a scored run is done or planned: by network, from few
        labels to all, in the order of the arms.
    """
    every = tabulate_runs(results)
    # A run that scores test speakers has the validation score of its twin that does not.
    each_once = every.dropna(subset="val_uar").drop_duplicates(["setting", "fold", "seed"])
    validation = each_once.groupby("setting", sort=False)["val_uar"].mean()
    runs = every[every["test"]]
    groups = dict(list(runs.groupby("setting", sort=False)))
    missing = Counter(_setting_of(run) for run in planned if run.test and run not in results)
    settings = sort_settings({*groups, *missing})
    return [
        _compare(each, groups, runs[:0], missing[each], or_none(validation.get(each, np.nan)))
        for each in settings
    ]


def sort_settings(settings: Iterable[Setting]) -> list[Setting]:
    """Sorts settings by network, from few labels to all, in the order of the arms."""
    return sorted(settings, key=lambda s: (s.network, s.label_share, arm_place(s.method), *s.graph))


def arm_place(method: str) -> tuple[int, str]:
    """Where an arm stands among the others; those with a share of wrong edges after the oracle."""
    names = list(ARMS)
    return names.index(method if method in ARMS else "oracle"), "" if method in ARMS else method


def compare_validation(results: Results, runs: Sequence[Run]) -> pd.DataFrame:
    """Sums up the validation scores of some runs.

    Args:
        results: The runs that are done.
        runs: Those to be summed up, done or not.

    Returns:
        One row a setting, in the order of `sort_settings`: `setting`, its parts, the mean and
        standard deviation of `val_uar` over folds and seeds as `mean` and `sd` (NaN where
        unknown), `runs` done, and `missing` ones.
    """
    done = tabulate_runs({run: results[run] for run in runs if run in results})
    scores = done.groupby("setting", sort=False)["val_uar"].agg(["mean", "std", "count"])
    wanted = Counter(_setting_of(run) for run in runs)
    settings = sort_settings(wanted)
    table = pd.DataFrame([asdict(each) for each in settings], columns=list(_SETTING))
    scores = scores.reindex(pd.Index(settings, dtype=object))
    count = scores["count"].fillna(0).astype(int).to_numpy()
    return table.assign(
        setting=settings,
        mean=scores["mean"].to_numpy(float),
        sd=scores["std"].to_numpy(float),
        runs=count,
        missing=[wanted[each] for each in settings] - count,
    )


def sum_confusion(runs: pd.DataFrame) -> np.ndarray:
    """Sums the confusion matrices of some scored runs.

    Args:
        runs: Rows of `tabulate_runs`.

    Returns:
        int, shape `(classes, classes)`, rows true.
    """
    return np.sum([*runs["confusion_matrix"]], axis=0)


def pair(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds the runs of two settings that have the same fold and seed.

    Args:
        ours: Rows of `tabulate_runs`, all of one setting.
        theirs: Those of another.

    Returns:
        The rows that both have, in the same order, by fold and seed.
    """
    ours, theirs = (runs.set_index(["fold", "seed"]) for runs in (ours, theirs))
    shared = ours.index.intersection(theirs.index).sort_values()
    return ours.loc[shared].reset_index(), theirs.loc[shared].reset_index()


def _setting_of(run: Run) -> Setting:
    return Setting(*(getattr(run, name) for name in _SETTING))


def _compare(
    setting: Setting,
    groups: Mapping[Setting, pd.DataFrame],
    none: pd.DataFrame,
    missing: int,
    val_uar: float | None,
) -> Comparison:
    runs = groups.get(setting, none)
    base, guessed = (
        Setting(setting.network, setting.label_share, name, 0, 0.0, "", "", "")
        for name in ("base", "guessed")
    )
    known = find_arm(setting.method)
    random = Setting(setting.network, setting.label_share, known.random_twin, *setting.graph)
    by_seed = runs.pivot_table(index="seed", columns="fold", values="uar").dropna()
    nominal = 1.0 if known.control == "oracle" and known.purity is None else known.purity
    measured = or_none(runs["purity"].mean())
    return Comparison(
        setting=setting,
        runs=len(runs),
        missing=missing,
        folds=sorted(set(runs["fold"])),
        seeds=sorted(set(runs["seed"])),
        uar=or_none(runs["uar"].mean()),
        uar_sd=or_none(runs["uar"].std()),
        uar_sd_of_seeds=or_none(by_seed.mean(axis=1).std()),
        accuracy=or_none(runs["accuracy"].mean()),
        val_uar=val_uar,
        purity=nominal if measured is None else measured,
        against_base=None if setting == base else _subtract(runs, groups.get(base, none)),
        against_random=_subtract(runs, groups.get(random, none))
        if known.likeness is not None and not known.guessed and known.control != "random"
        else None,
        against_guessed=_subtract(runs, groups.get(guessed, none))
        if known.likeness is not None and known.probes and known.control is None
        else None,
    )


def _subtract(ours: pd.DataFrame, theirs: pd.DataFrame) -> Difference | None:
    ours, theirs = pair(ours, theirs)
    if ours.empty:
        return None
    differences = pd.DataFrame(
        [
            (speaker, scores["uar"] - other[speaker]["uar"])
            for own, other in zip(ours["speakers"], theirs["speakers"], strict=True)
            for speaker, scores in own.items()
        ],
        columns=["speaker", "difference"],
    )
    # Rounded, else the last bits of sums that cancel out could lift an interval off zero.
    by_speaker = differences.groupby("speaker")["difference"].mean().round(_DIGITS)
    low, high = _interval(by_speaker.to_numpy())
    return Difference(
        pairs=len(ours),
        by_speaker=by_speaker.to_dict(),
        mean=float(by_speaker.mean()),
        low=low,
        high=high,
        p_flips=_flip_signs(by_speaker.to_numpy()),
        p_better=z_test(_pool(ours), _pool(theirs))["uar"],
    )


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """95 % percentile bootstrap interval of the mean; of equal values it is that value."""
    if len(values) < FEWEST_SPEAKERS:
        return None, None
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=1 - _LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _flip_signs(values: np.ndarray) -> float | None:
    """How often chance, which gives differences either sign, moves their mean as far from zero."""
    if len(values) < FEWEST_SPEAKERS:
        return None
    test = permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=_FLIPS,  # all of them where there are no more
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _pool(runs: pd.DataFrame) -> dict[str, Any]:
    """Scores of the clips of all folds, each counted once, however many seeds have scored it.

    A fold's confusion matrix is the mean over its seeds; with all seeds in all folds the UAR is
    the mean over seeds of that of all folds' clips together.
    """
    of_folds = [sum_confusion(fold) / len(fold) for _, fold in runs.groupby("fold")]
    counts = np.sum(of_folds, axis=0)
    true, recognised = np.indices(counts.shape).reshape(2, -1)
    weights = counts.ravel()
    present = np.flatnonzero(counts.sum(axis=1))
    return {
        "clips": counts.sum(),
        "accuracy": accuracy_score(true, recognised, sample_weight=weights),
        "uar": recall_score(
            true, recognised, labels=present, average="macro", sample_weight=weights
        ),
    }
