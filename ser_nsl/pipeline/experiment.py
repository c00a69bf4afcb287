"""Settings of a whole run, and of a sweep: the settings of every stage, read from one YAML file.

An `Experiment` is one run. A `SweepConfig` is the same chain over several folds of the corpus, with
grids of trainings; `list_runs` lists them. The files of `ser_nsl/pipeline/configs` and its folder
`sweeps` are found by name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, cast, get_args

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.arms import find_arm
from ser_nsl.pipeline.settings import check, read_settings
from ser_nsl.training.settings import Distance, Method, NeighborSource, TrainingConfig
from ser_nsl.upstream.settings import FineTuningConfig, HeadConfig

__all__ = [
    "Experiment",
    "Fold",
    "Grid",
    "Run",
    "Setup",
    "SweepConfig",
    "list_runs",
    "load_experiment",
    "load_sweep",
]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What experiments and sweeps have in common.

    Attributes:
        name: Short name, which is also that of the folder: letters, digits, `_`, `-` and dots.
        title: One line for the report.
        target: The corpus that the recogniser is for.
        upstream: Hub name or folder of a wav2vec 2.0, a HuBERT or a Whisper.
        center: `speaker` subtracts from each embedding the mean of its speaker's clips before
            graphs are built; None leaves embeddings as they are.
        clip_seconds: Length of the target's clips in seconds; None for that of the longest
            training clip (in sweeps, of their first division).
        front_end: From waveform to log Mel.
        copies: Number of damaged copies of each clip, for training; 0 for none.
        graph: How the graph is built and used; in a sweep that of the arm `paper`.
        training: How networks are trained; what an experiment's `seeds` or a sweep's grids set
            replaces the values here.
        caution: What a reader must know before trusting the figures.
    """

    name: str
    title: str
    target: CorpusConfig
    upstream: str = "models/wav2vec2-mini-ravdess"
    center: str | None = None
    clip_seconds: float | None = None
    front_end: FrontEndConfig = FrontEndConfig()
    copies: int = 0
    graph: GraphConfig = GraphConfig()
    training: TrainingConfig = TrainingConfig()
    caution: str = ""

    def __post_init__(self) -> None:
        check(self.center in (None, "speaker"), "center", "speaker or null", self.center)
        rule = "the name of a folder: letters, digits, _, - and dots within, up to 100"
        check(re.fullmatch(r"\w[\w.-]{0,99}", self.name) is not None, "name", rule, self.name)
        seconds = self.clip_seconds
        check(0 <= self.copies <= 100, "copies", "0 to 100", self.copies)
        check(seconds is None or 0 < seconds <= 3600, "clip_seconds", "up to an hour", seconds)


@dataclass(frozen=True, kw_only=True)
class Experiment(Setup):
    """Everything that a run of the whole chain depends on.

    Attributes:
        source: The corpus that teaches the upstream; read only with `finetuning` or `head`.
        finetuning: How the whole upstream, a wav2vec 2.0, is trained on the source.
        head: How an emotion head is trained on the source, the encoder frozen. Without both, the
            upstream's own head is used.
        networks: Light networks to train.
        methods: `base`, `nsl`, `add`, `max`, `avg`; each is trained for each network and seed.
        seeds: Seeds of the trainings; results are means over them.

    Example:
        >>> from dataclasses import replace
        >>> experiment = replace(load_experiment("smoke"), seeds=(0, 1, 2))
        >>> experiment.networks, experiment.methods, experiment.seeds
        (('resnet9',), ('base', 'nsl'), (0, 1, 2))
    """

    source: CorpusConfig | None = None
    finetuning: FineTuningConfig | None = None
    head: HeadConfig | None = None
    networks: tuple[str, ...] = ("resnet9",)
    methods: tuple[str, ...] = ("base", "nsl")
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "null where there is finetuning: either trains the upstream"
        check(self.finetuning is None or self.head is None, "head", rule, "both")
        rule = "given where there is finetuning or a head"
        check(not self.learns or self.source is not None, "source", rule, self.source)
        if self.clip_seconds is not None:
            samples = round(self.clip_seconds * self.front_end.sample_rate_hz)
            window = self.front_end.window_samples
            check(samples >= window, "clip_seconds", "one window or more", self.clip_seconds)
        known = set(get_args(Method))
        check(set(self.methods) <= known, "methods", f"among {sorted(known)}", self.methods)
        drawn = self.graph.embeddings == "probe" and self.training.label_share < 1
        rule = "one where a probe knows a share of the labels, which the seed draws"
        check(not drawn or len(self.seeds) == 1, "seeds", rule, self.seeds)
        for name in ("networks", "methods", "seeds"):
            values = getattr(self, name)
            check(len(set(values)) == len(values) > 0, name, "one or more, all different", values)

    @property
    def learns(self) -> bool:
        """Whether the upstream learns the source in a run."""
        return self.finetuning is not None or self.head is not None


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

    Attributes:
        arms: Names of `ser_nsl.pipeline.arms`.
        networks: Names of light networks.
        n: Numbers of neighbours.
        alpha: Weights of the graph's part of the loss.
        layers: Layers whose outputs the graph makes similar.
        distances: Distances between these outputs, as in `TrainingConfig`.
        neighbors: Where neighbours come from: `packed`, `batch`, `bank`.
        label_shares: Shares of the training labels that are used.
        seeds: Seeds of weights, labels used and order.
        folds: Numbers of folds, from 0; empty for all.
        test: Whether test speakers are scored; false in a grid that chooses settings.
    """

    arms: tuple[str, ...] = ("base", "nsl")
    networks: tuple[str, ...] = ("resnet9",)
    n: tuple[int, ...] = (3,)
    alpha: tuple[float, ...] = (0.1,)
    layers: tuple[str, ...] = ("fc2",)
    distances: tuple[str, ...] = ("cosine",)
    neighbors: tuple[str, ...] = ("batch",)
    label_shares: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: tuple[int, ...] = ()
    test: bool = True

    def __post_init__(self) -> None:
        from ser_nsl.networks import NETWORKS

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
        grids: Grids by name.
        default: Names of the grids that run unless others are named; the rest is for machines with
            a GPU.
        joined: Whether validation speakers train too in the runs that score test speakers, whose
            last epoch is then kept, as for the paper's test figures.

    Example:
        >>> sweep = load_sweep("emodb")
        >>> sweep.folds[0]
        Fold(test=('03', '08'), val=('10', '09'), split=None)
        >>> sweep.grids["small"].networks
        ('resnet9_quarter',)
    """

    folds: list[Fold]
    grids: dict[str, Grid]
    default: tuple[str, ...]
    joined: bool = False
    center: str | None = "speaker"

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.default if name not in self.grids]
        if unknown:
            raise ValueError(f"default: there is no grid {unknown[0]!r}")
        for name, grid in self.grids.items():
            if any(not 0 <= fold < len(self.folds) for fold in grid.folds):
                raise ValueError(f"grids.{name}.folds: must be 0 to {len(self.folds) - 1}")
            if self.joined and grid.test and any(find_arm(arm).uses_probe for arm in grid.arms):
                raise ValueError(
                    f"grids.{name}.arms: a probe reads training clips only, so it cannot be joined"
                )


@dataclass(frozen=True)
class Run:
    """One training of a sweep, and its score.

    Attributes:
        corpus: Name of the corpus.
        fold: Number of the fold, from 0.
        network: Name of the network.
        method: Name of the arm.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss; 0 without a graph.
        layer: Layer whose outputs the graph makes similar; empty without a graph.
        distance: Distance between these outputs; empty without a graph.
        neighbors: Where neighbours come from; empty without a graph.
        label_share: Share of the training labels that are used.
        seed: Seed of weights, labels used and order.
        test: Whether test speakers are scored.

    Example:
        >>> run = list_runs(load_sweep("emodb"), ["small"])[0]
        >>> run.fold, run.network, run.method, run.label_share
        (0, 'resnet9_quarter', 'base', 0.25)
    """

    corpus: str
    fold: int
    network: str
    method: str
    n: int
    alpha: float
    layer: str
    distance: str
    neighbors: str
    label_share: float
    seed: int
    test: bool


WITHOUT_GRAPH = (0, 0.0, "", "", "")
"""`n`, `alpha`, `layer`, `distance` and `neighbors` of a run without a graph."""


def list_runs(config: SweepConfig, grids: Sequence[str] = ()) -> list[Run]:
    """Lists the runs of some grids, each once, quick and important ones first.

    Args:
        config: The sweep.
        grids: Names of grids; empty for the default ones, `all` for every one.

    Returns:
        Runs by grid, then by seed and fold, so that a sweep that is stopped early leaves whole
        comparisons.

    Raises:
        InputError: If there is no such grid.

    Example:
        >>> sweep = load_sweep("emodb")
        >>> runs = list_runs(sweep, ["small_full"])
        >>> len(runs), runs[0].method, runs[1].method
        (60, 'base', 'nsl')
    """
    names = [*config.grids] if "all" in grids else [*(grids or config.default)]
    for name in names:
        if name not in config.grids:
            raise InputError(f"grids: {name!r} is unknown; known are {', '.join(config.grids)}.")
    return [*dict.fromkeys(run for name in names for run in _runs(config, config.grids[name]))]


def _runs(config: SweepConfig, grid: Grid) -> Iterator[Run]:
    folds = grid.folds or range(len(config.folds))
    corpus = config.target.name or config.target.corpus
    for seed, fold, share, network, arm in product(
        grid.seeds, folds, grid.label_shares, grid.networks, grid.arms
    ):
        graphs = product(grid.n, grid.alpha, grid.layers, grid.distances, grid.neighbors)
        for graph in graphs if find_arm(arm).has_graph else [WITHOUT_GRAPH]:
            yield Run(corpus, fold, network, arm, *graph, share, seed, grid.test)


def load_experiment(
    config: str, overrides: Sequence[str] = (), *, upstream: str | None = None
) -> Experiment:
    """Reads an experiment.

    Args:
        config: Name of a file in `ser_nsl/pipeline/configs`, without suffix, or path of a YAML
            file.
        overrides: Settings to change, as `training.epochs=5` or `seeds=[0,1]`.
        upstream: Hub name or folder of another upstream. It learns the source as the file says;
            if the file's own upstream needs not learn, an emotion head is trained on the other.

    Returns:
        The experiment, checked.

    Raises:
        InputError: If there is no such file, a key is unknown, or a value breaks its rule.

    Example:
        >>> experiment = load_experiment("smoke", ["training.epochs=5", "seeds=[0,1,2]"])
        >>> experiment.target.corpus, experiment.training.epochs, experiment.seeds
        ('demos', 5, (0, 1, 2))
    """
    read = partial(
        read_settings, Experiment, config, folder="pipeline/configs", overrides=overrides
    )
    experiment = read()
    if not upstream:
        return experiment
    lesson: dict[str, Any] = {} if experiment.learns else {"head": {}}
    return read(changes={"upstream": upstream, **lesson})


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
        >>> len(sweep.folds), sweep.grids["small"].arms
        (6, ('base', 'pseudo_labels', 'probe', 'random_agreeing'))
    """
    return read_settings(SweepConfig, config, folder="pipeline/configs/sweeps", overrides=overrides)
