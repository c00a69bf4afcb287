"""What the results of a sweep say: means, and paired differences between arms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from ser_nsl.evaluation.scores import z_test
from ser_nsl.evaluation.statistics import bootstrap_interval, pool_folds, sign_flip_test
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import ARMS, find_arm
from ser_nsl.pipeline.experiment import WITHOUT_GRAPH, Run
from ser_nsl.pipeline.results import Results

_NUMBERS = ("val_uar", "seconds", "uar", "accuracy", "purity")
_COLUMNS = (
    *(field.name for field in fields(Run)),
    *_NUMBERS,
    *("confusion_matrix", "speakers", "classes"),
)
_LEVEL = 0.05
_DIGITS = 12


@dataclass(frozen=True)
class Setting:
    """What runs have in common that differ in fold and seed only; see `Run`.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        method: Name of the arm.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss.
        layer: Layer whose outputs the graph makes similar.
        distance: Distance between these outputs.
        neighbors: Where neighbours come from.
    """

    network: str
    label_share: float
    method: str
    n: int
    alpha: float
    layer: str
    distance: str
    neighbors: str

    @classmethod
    def of(cls, run: Run) -> "Setting":
        """The setting of a run."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(cls)})

    @property
    def graph(self) -> tuple[int, float, str, str, str]:
        """How the graph is used, whatever graph it is."""
        return self.n, self.alpha, self.layer, self.distance, self.neighbors


@dataclass(frozen=True)
class Difference:
    """How far an arm is above a reference, on the folds and seeds that both have.

    Attributes:
        pairs: Number of pairs of runs.
        by_speaker: From test speaker to the mean over seeds of the difference in UAR.
        mean: Mean over the speakers, in [-1, 1].
        low: Lower end of its 95 % bootstrap interval over speakers; None with too few speakers.
        high: Upper end.
        p_flips: Two-sided p of the sign-flip test over speakers; None as `low`.
        p_better: p of the one-tailed z-test, on the UAR of all test clips, that the arm is better.
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
        """1 if the arm is above, -1 if it is below, 0 if interval and test do not both say so."""
        if self.low is None or self.high is None or self.p_flips is None or self.p_flips > _LEVEL:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Test scores of a setting.

    Attributes:
        setting: The setting of the runs.
        runs: Number of runs that are done.
        missing: Number of runs that are planned beside them.
        folds: Numbers of the folds done.
        seeds: Seeds done.
        uar: Mean of the runs; None without runs, as are all the following.
        uar_sd: Standard deviation over folds and seeds; None for a single run.
        uar_sd_of_seeds: Standard deviation over seeds of the mean over folds, of the seeds that
            have all folds; None for a single seed.
        accuracy: Mean of the runs.
        val_uar: Mean UAR of the kept epochs on the validation speakers, of all runs that did not
            train on these.
        purity: Share of the graph's edges that join one emotion, as far as known.
        against_base: Difference from base; None for base itself, and without pairs.
        against_random: Difference of a graph arm from the random graph that is filtered and used
            in the same way.
        against_pseudo_labels: Difference of a graph arm that knows what the probe knows from plain
            training on the probe's pseudo-labels.

    Example:
        >>> from ser_nsl.pipeline import list_runs, load_sweep
        >>> for comparison in compare({}, list_runs(load_sweep("emodb"), ["small"]))[:2]:
        ...     print(comparison.setting.method, comparison.runs, comparison.missing)
        base 0 15
        pseudo_labels 0 15
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
    against_pseudo_labels: Difference | None


def tabulate_runs(results: Results) -> pd.DataFrame:
    """Returns the results as a table.

    Args:
        results: Results by run.

    Returns:
        One row a run, in the same order: the fields of `Run` and of its result, NaN where a result
        lacks one, and the run's `setting`.

    Example:
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, test=False)
        >>> tabulate_runs({run: {"val_uar": 0.5}})[["network", "val_uar", "uar"]]
          network  val_uar  uar
        0    cnn6      0.5  NaN
    """
    rows = [asdict(run) | dict(result) for run, result in results.items()]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table = table.astype({"test": bool} | dict.fromkeys(_NUMBERS, float))
    return table.assign(setting=[Setting.of(run) for run in results])


def compare(results: Results, planned: Iterable[Run]) -> list[Comparison]:
    """Compares the test scores of all settings.

    Args:
        results: Results by run.
        planned: Runs that count as missing until they are done.

    Returns:
        One comparison for each setting of which a scored run is done or planned: by network, from
        few labels to all, in the order of the arms.

    Example:
        >>> scores = {"uar": 0.5, "confusion_matrix": [[1, 1], [1, 1]], "val_uar": 0.6}
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, test=True)
        >>> (base,) = compare({run: scores}, planned=[])
        >>> base.uar, base.val_uar, base.runs
        (0.5, 0.6, 1)
    """
    table = tabulate_runs(results)
    # A run that scores test speakers has the validation score of its twin that does not.
    each_once = table.dropna(subset="val_uar").drop_duplicates(["setting", "fold", "seed"])
    validation = each_once.groupby("setting", sort=False)["val_uar"].mean()
    scored = table[table["test"]]
    groups = dict(list(scored.groupby("setting", sort=False)))
    missing = Counter(Setting.of(run) for run in planned if run.test and run not in results)
    return [
        _compare(setting, groups, scored[:0], missing[setting], validation.get(setting, np.nan))
        for setting in _sorted({*groups, *missing})
    ]


def compare_validation(results: Results, runs: Sequence[Run]) -> pd.DataFrame:
    """Returns the validation scores of some runs by setting.

    Args:
        results: Results by run.
        runs: Runs to be summed up, done or not.

    Returns:
        One row a setting, in the order of `compare`: `setting`, its fields, the `mean` and standard
        deviation `sd` of `val_uar` over folds and seeds (NaN where unknown), the numbers of `runs`
        done and of `missing` ones.
    """
    done = tabulate_runs({run: results[run] for run in runs if run in results})
    scores = done.groupby("setting", sort=False)["val_uar"].agg(["mean", "std", "count"])
    listed = Counter(Setting.of(run) for run in runs)
    settings = _sorted(listed)
    scores = scores.reindex(pd.Index(settings, dtype=object)).reset_index(drop=True)
    count = scores["count"].fillna(0).astype(int)
    return pd.DataFrame(
        [asdict(setting) for setting in settings], columns=[each.name for each in fields(Setting)]
    ).assign(
        setting=settings,
        mean=scores["mean"].astype(float),
        sd=scores["std"].astype(float),
        runs=count,
        missing=[listed[setting] for setting in settings] - count,
    )


def arm_order(method: str) -> tuple[int, str]:
    """Returns a sort key: the order of `ARMS`, oracles with wrong edges after the oracle."""
    names = list(ARMS)
    return names.index(method if method in ARMS else "oracle"), "" if method in ARMS else method


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
    val_uar: float,
) -> Comparison:
    runs = groups.get(setting, no_runs)
    arm = find_arm(setting.method)

    def against(method: str, graph: tuple = WITHOUT_GRAPH) -> Difference | None:
        reference = Setting(setting.network, setting.label_share, method, *graph)
        return None if reference == setting else _subtract(runs, groups.get(reference, no_runs))

    has_random = arm.has_graph and arm.control != "random" and not arm.pseudo_labels
    by_seed = runs.pivot_table(index="seed", columns="fold", values="uar").dropna()
    nominal = 1.0 if arm.control == "oracle" and arm.purity is None else arm.purity
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
        val_uar=or_none(val_uar),
        purity=nominal if measured is None else measured,
        against_base=against("base"),
        against_random=against(arm.random_control, setting.graph) if has_random else None,
        against_pseudo_labels=against("pseudo_labels")
        if arm.has_real_graph and arm.uses_probe
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
    low, high = bootstrap_interval(by_speaker.to_numpy()) or (None, None)
    return Difference(
        pairs=len(ours),
        by_speaker=by_speaker.to_dict(),
        mean=float(by_speaker.mean()),
        low=low,
        high=high,
        p_flips=sign_flip_test(by_speaker.to_numpy()),
        p_better=z_test(_pool(ours), _pool(theirs))["uar"],
    )


def _pool(runs: pd.DataFrame) -> dict[str, float]:
    return pool_folds([*fold["confusion_matrix"]] for _, fold in runs.groupby("fold"))
