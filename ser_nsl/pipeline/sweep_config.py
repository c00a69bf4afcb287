"""Settings of a sweep, read from one YAML file, and the runs that it lists.

A sweep is the chain of an experiment over several folds of the corpus, with grids of trainings and
the trials that choose their settings. The files of `ser_nsl/pipeline/configs/sweeps` are found by
name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any, cast

from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.arms import BASELINES, OF_GRAPH, find_arm
from ser_nsl.pipeline.experiment import Setup
from ser_nsl.pipeline.settings import change_settings, check, read_settings
from ser_nsl.pipeline.sweep_run import LINEAR, WITHOUT_GRAPH, Run, Setting
from ser_nsl.training.settings import Distance, NeighborSource, TeachingConfig, TrainingConfig

_GRAPH = ("n", *OF_GRAPH)
_PLAIN: dict[str, Any] = dict(zip(_GRAPH, WITHOUT_GRAPH, strict=True))
_GRAPH_DEFAULTS: dict[str, Any] = {name: getattr(TrainingConfig(), name) for name in OF_GRAPH}
_NOT_OF_TRIALS = {"label_share", "seed", "edges", "keep", "patience", "epoch_steps"}


@dataclass(frozen=True)
class Fold:
    """Speakers who test and who validate; all other speakers of the corpus train.

    Attributes:
        test: Test speakers.
        val: Validation speakers.
        split: In place of these two, any way to divide speakers.
    """

    test: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    split: SplitConfig | None = None

    def __post_init__(self) -> None:
        listed = bool(self.test) and bool(self.val)
        if listed == (self.split is not None) or bool(self.test) != bool(self.val):
            raise ValueError("folds: each needs speakers of both test and val, or else a split")


@dataclass(frozen=True)
class Grid:
    """All combinations of some settings.

    Those of the graph (`n` to `neighbors`) are for arms that have one. What a trial of the sweep
    sets, the grid does not.

    Attributes:
        arms: Names of `ser_nsl.pipeline.arms`.
        networks: Names of light networks.
        n: Numbers of neighbours.
        alpha: Weights of the graph's part of the loss.
        layers: Layers whose outputs the graph makes similar.
        distances: Distances between these outputs, as in `TrainingConfig`.
        neighbors: Where neighbours come from: `packed`, `batch`, `bank`.
        label_shares: Shares of the training labels that are used.
        seeds: Seeds of weights, labels used and order in the trainings that score test speakers;
            none in a grid that shows validation scores only.
        trial_seeds: The same of the trials, by which settings are chosen.
        folds: Numbers of folds, from 0; empty for all.
    """

    arms: tuple[str, ...] = ("base", "nsl")
    networks: tuple[str, ...] = ("cnn_tdnn",)
    n: tuple[int, ...] = (3,)
    alpha: tuple[float, ...] = (0.1,)
    layers: tuple[str, ...] = ("fc2",)
    distances: tuple[str, ...] = ("cosine",)
    neighbors: tuple[str, ...] = ("batch",)
    label_shares: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    trial_seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        from ser_nsl.networks import NETWORKS

        check(len(self.trial_seeds) > 0, "trial_seeds", "one or more", self.trial_seeds)

        for name in self.arms:
            try:
                find_arm(name)
            except KeyError as error:
                raise ValueError(f"arms: {name!r} is unknown") from error
        unknown = [name for name in self.networks if name not in NETWORKS]
        if unknown:
            raise ValueError(f"networks: {unknown[0]!r} is unknown; known are {list(NETWORKS)}")
        check(min(self.n, default=1) >= 1, "n", "at least 1", min(self.n, default=1))
        settings = product(self.alpha, self.distances, self.neighbors, self.label_shares)
        for alpha, distance, neighbors, share in settings:  # which has rules of its own
            TrainingConfig(
                alpha=alpha,
                distance=cast(Distance, distance),
                neighbors=cast(NeighborSource, neighbors),
                label_share=share,
            )


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Setup):
    """Everything that a sweep depends on.

    Attributes:
        upstream: As in `Setup`; it has already learned its source.
        center: As in `Setup`, but for the arm `paper`, which never centres.
        folds: Who tests and validates; they replace the target's split.
        trials: The budget of every arm: changes of `training` by name, as {"shifts":
            {"augmentation": {"time_shift_frames": 20}}}. Each arm is trained with each of them, and
            the trial and the number of epochs with the highest mean UAR on the validation speakers,
            over folds and `trial_seeds`, are those with which it is scored on test speakers. A
            change of the graph's settings says nothing to arms without a graph, so each trial needs
            another change too. By default there is one trial, `training` as it is.
        grids: Grids by name.
        default: Names of the grids that run unless others are named; the rest is for machines with
            a GPU.
        teaching: How networks are taught on `speech`, as in `teach_network`.
        joined: Whether validation speakers train too in the runs that score test speakers, as for
            the paper's test figures: networks, the probes and graphs that they learn from, and
            linear classifiers. These have as many epochs, and C, as were chosen without them, so
            that each clip is seen as often; the updates grow with the number of clips. A share of
            the labels is then drawn from the clips of both.

    Example:
        >>> sweep = load_sweep("emodb")
        >>> sweep.folds[0]
        Fold(test=('03', '08'), val=('10', '09'), split=None)
        >>> sweep.grids["small"].networks, [*sweep.budget]
        (('cnn_tdnn',), ['given'])
    """

    folds: list[Fold]
    grids: dict[str, Grid]
    default: tuple[str, ...]
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    teaching: TeachingConfig = TeachingConfig()
    joined: bool = False
    center: str | None = "speaker"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(len(self.folds) > 0, "folds", "one or more", self.folds)
        unknown = [name for name in self.default if name not in self.grids]
        if unknown:
            raise ValueError(f"default: there is no grid {unknown[0]!r}")
        for name, grid in self.grids.items():
            if any(not 0 <= fold < len(self.folds) for fold in grid.folds):
                raise ValueError(f"grids.{name}.folds: must be 0 to {len(self.folds) - 1}")
        self._check_trials()
        self._check_choices()
        self._check_references()

    @property
    def budget(self) -> dict[str, dict[str, Any]]:
        """The trials of every arm, one or more: changes of `training` by name."""
        return self.trials or {"given": {}}

    @property
    def tried(self) -> set[str]:
        """Names of the settings of training that trials set."""
        return {name for changes in self.budget.values() for name in changes}

    def trial_training(self, name: str) -> TrainingConfig:
        """Returns the settings of a trial, by its name."""
        return change_settings(self.training, self.budget[name], place=f"trials.{name}")

    def _check_trials(self) -> None:
        """Refuses a budget that is not the same for every arm."""
        arms = {find_arm(arm) for grid in self.grids.values() for arm in grid.arms}
        seen: dict[tuple[bool, TrainingConfig], str] = {}
        for name, changes in self.budget.items():
            rule = "words of letters, digits and _"
            check(re.fullmatch(r"\w+", name) is not None, "trials", rule, name)
            settings = self.trial_training(name)
            if not self.copies:  # then no trial has them
                settings = replace(settings, copies=False)
            kept = sorted(_NOT_OF_TRIALS & changes.keys())
            if kept:
                raise ValueError(
                    f"trials.{name}.{kept[0]}: a sweep sets it, by its grids, folds or choice"
                )
            for has_graph in {arm.has_graph for arm in arms}:
                used = settings if has_graph else replace(settings, **_GRAPH_DEFAULTS)
                twin = seen.setdefault((has_graph, used), name)
                if twin != name:
                    kind = "with" if has_graph else "without"
                    raise ValueError(
                        f"trials: {twin!r} and {name!r} are the same for arms {kind} a graph, so "
                        "there would be an arm without the same number of trials; change another "
                        "setting too, or leave one out"
                    )

    def _check_choices(self) -> None:
        """Refuses grids that would choose the settings of one arm twice, by other runs."""
        seen: dict[Setting, tuple[str, tuple]] = {}
        for name, grid in self.grids.items():
            span = (tuple(grid.folds or range(len(self.folds))), grid.trial_seeds)
            for run in _trials(self, grid):
                other, known = seen.setdefault(run.setting, (name, span))
                if known != span:
                    raise ValueError(
                        f"grids.{name}: {run.method} has other folds or trial_seeds than in "
                        f"grids.{other}, and its settings are chosen once; give both the same"
                    )

    def _check_references(self) -> None:
        """Refuses arms without those that they must be compared with."""
        planned = {run for grid in self.grids.values() for run in _finals(self, grid)}
        for name, grid in self.grids.items():
            for run in _finals(self, grid):
                for reference in find_arm(run.method).references:
                    has_graph = find_arm(reference).has_graph
                    pseudo_labels = find_arm(reference).pseudo_labels
                    if reference == run.method:
                        continue
                    # No weight on a graph needs no twin of it, and no hidden label no pseudo-label.
                    if (has_graph and run.alpha == 0) or (pseudo_labels and run.label_share == 1):
                        continue
                    used: dict[str, Any] = {} if has_graph else _PLAIN
                    if replace(run, method=reference, **used) not in planned:
                        raise ValueError(
                            f"grids.{name}.arms: {run.method!r} ({run.network}, "
                            f"{run.label_share:.0%} of the labels, fold {run.fold}, seed "
                            f"{run.seed}) has no {reference!r} to be compared with; add it"
                        )


def list_runs(config: SweepConfig, grids: Sequence[str] = ()) -> list[Run]:
    """Lists the runs of some grids, each once: baselines, trials, then those that test.

    Args:
        config: The sweep.
        grids: Names of grids; empty for the default ones, `all` for every one.

    Returns:
        Trials by arm, base first; runs that test by grid, then by seed and fold, so that a sweep
        that is stopped early leaves whole comparisons.

    Raises:
        InputError: If there is no such grid.

    Example:
        >>> runs = list_runs(load_sweep("paper_emodb"), ["test"])
        >>> [run.method for run in runs[:5]]
        ['mfcc', 'upstream', 'both', 'base', 'add']
        >>> sum(run.test for run in runs)
        15
    """
    names = [*config.grids] if "all" in grids else [*(grids or config.default)]
    for name in names:
        if name not in config.grids:
            raise InputError(f"grids: {name!r} is unknown; known are {', '.join(config.grids)}.")
    listed = [
        _list(config, config.grids[name])
        for _list in (_baselines, _trials, _finals)
        for name in names
    ]
    return [*dict.fromkeys(chain.from_iterable(listed))]


def _baselines(config: SweepConfig, grid: Grid) -> Iterator[Run]:
    """Linear classifiers, once for all seeds where these draw no labels."""
    for share, seed, fold, kind in product(
        grid.label_shares, grid.seeds, _folds(config, grid), BASELINES
    ):
        drawn = seed if share < 1 else grid.seeds[0]
        run = _run(config, fold, LINEAR, kind, _PLAIN)
        yield replace(run, label_share=share, seed=drawn)


def _trials(config: SweepConfig, grid: Grid) -> Iterator[Run]:
    """Trainings that choose, base first."""
    arms = sorted(grid.arms, key=lambda arm: arm != "base")
    for share, network, arm in product(grid.label_shares, grid.networks, arms):
        for graph, trial, seed, fold in product(
            _graphs(config, grid, arm), config.budget, grid.trial_seeds, _folds(config, grid)
        ):
            run = _run(config, fold, network, arm, graph)
            yield replace(run, label_share=share, seed=seed, trial=trial)


def _finals(config: SweepConfig, grid: Grid) -> Iterator[Run]:
    """Trainings that score test speakers."""
    for seed, fold, share, network, arm in product(
        grid.seeds, _folds(config, grid), grid.label_shares, grid.networks, grid.arms
    ):
        for graph in _graphs(config, grid, arm):
            run = _run(config, fold, network, arm, graph)
            yield replace(run, label_share=share, seed=seed)


def _run(
    config: SweepConfig, fold: int, network: str, method: str, graph: Mapping[str, Any]
) -> Run:
    corpus = config.target.name or config.target.corpus
    return Run(corpus, fold, network, method, **graph, label_share=1.0, seed=0, trial="")


def _folds(config: SweepConfig, grid: Grid) -> Sequence[int]:
    return grid.folds or range(len(config.folds))


def _graphs(config: SweepConfig, grid: Grid, arm: str) -> list[dict[str, Any]]:
    """How an arm uses a graph: `n` to `neighbors` of a run."""
    if not find_arm(arm).has_graph:
        return [_PLAIN]
    values = (grid.n, grid.alpha, grid.layers, grid.distances, grid.neighbors)
    tried = [
        (None,) if name in config.tried else own for name, own in zip(_GRAPH, values, strict=True)
    ]
    return [dict(zip(_GRAPH, each, strict=True)) for each in product(*tried)]


def load_sweep(config: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Reads a sweep.

    Args:
        config: Name of a file in `ser_nsl/pipeline/configs/sweeps`, without suffix, or path of a
            YAML file.
        overrides: Settings to change, as `training.epochs=5`.

    Returns:
        The sweep, checked.

    Raises:
        InputError: If there is no such file, a key is unknown, or a value breaks its rule.

    Example:
        >>> sweep = load_sweep("emovo", ["training.epochs=5"])
        >>> len(sweep.folds), sweep.grids["small"].arms[0]
        (6, 'base')
    """
    return read_settings(SweepConfig, config, folder="pipeline/configs/sweeps", overrides=overrides)
