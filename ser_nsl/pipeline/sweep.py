"""What a sweep is: a corpus in folds, and grids of trainings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, cast

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.networks import NETWORKS
from ser_nsl.pipeline.arms import find_arm
from ser_nsl.pipeline.settings import read_settings
from ser_nsl.training.settings import Distance, NeighborSource, TrainingConfig


@dataclass(frozen=True)
class Fold:
    """Who tests and who validates; the other speakers of all folds train.

    Attributes:
        test: Speakers.
        val: Speakers.
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
        networks: Names of the registry.
        n: Numbers of neighbours.
        alpha: Weights of the graph's part of the loss.
        layers: Layers whose outputs are made alike.
        distances: What is measured there, of `TrainingConfig`.
        neighbors: Where neighbours come from: `packed`, `batch`, `bank`.
        label_shares: Shares of the training labels that are used.
        seeds: Of weights, labels used and order.
        folds: Numbers of folds, from 0; empty for all.
        test: Whether the test speakers are scored; not in a grid that chooses settings.
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
        for name in self.arms:
            try:
                find_arm(name)
            except KeyError as error:
                raise ValueError(f"arms: {name!r} is unknown") from error
        unknown = [name for name in self.networks if name not in NETWORKS]
        if unknown:
            raise ValueError(f"networks: {unknown[0]!r} is unknown; known are {list(NETWORKS)}")
        if min(self.n, default=1) < 1:
            raise ValueError(f"n must be at least 1; received {min(self.n)}")
        settings = product(self.alpha, self.distances, self.neighbors, self.label_shares)
        for alpha, distance, neighbors, share in settings:  # which has rules of its own
            TrainingConfig(
                alpha=alpha,
                distance=cast(Distance, distance),
                neighbors=cast(NeighborSource, neighbors),
                label_share=share,
            )


@dataclass(frozen=True)
class SweepConfig:
    """Everything that a sweep depends on.

    Attributes:
        name: Short name, which is also that of the folders.
        title: One line for the report.
        target: The corpus; its split is that of the folds.
        folds: Who tests and validates.
        grids: By name.
        default: Names of the grids that run unless others are named; the rest is for machines with
            a GPU.
        upstream: Hub name or folder of a wav2vec 2.0 checkpoint that has learned its source.
        clip_seconds: Length of the target's clips; None for that of the longest.
        front_end: From waveform to log Mel.
        graph: How the arm `paper` builds its graph.
        joined: Whether validation speakers train too in the runs that score test speakers, whose
            last epoch is then kept, as for the paper's test figures.
        training: What the grids do not set. All runs take as many steps an epoch as show every
            training clip once, however few labels are used.
        caution: What a reader must know before trusting the figures.
    """

    name: str
    title: str
    target: CorpusConfig
    folds: list[Fold]
    grids: dict[str, Grid]
    default: tuple[str, ...]
    upstream: str = "models/wav2vec2-mini-ravdess"
    clip_seconds: float | None = None
    front_end: FrontEndConfig = FrontEndConfig()
    graph: GraphConfig = GraphConfig()
    joined: bool = False
    training: TrainingConfig = field(default_factory=TrainingConfig)
    caution: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.default if name not in self.grids]
        if unknown:
            raise ValueError(f"default: there is no grid {unknown[0]!r}")
        for name, grid in self.grids.items():
            if any(not 0 <= fold < len(self.folds) for fold in grid.folds):
                raise ValueError(f"grids.{name}.folds: must be 0 to {len(self.folds) - 1}")
            if self.joined and grid.test and any(find_arm(arm).probes for arm in grid.arms):
                raise ValueError(
                    f"grids.{name}.arms: a probe reads training clips only, so it cannot be joined"
                )

    def splits(self, run: "Run") -> tuple[Literal["train", "val"], ...]:
        """Whose clips a run trains on, `train` or `train` and `val`."""
        return ("train", "val") if self.joined and run.test else ("train",)


@dataclass(frozen=True)
class Run:
    """One training and its score.

    Attributes:
        corpus: Name of the corpus.
        fold: From 0.
        network: Name of the network.
        method: Name of the arm.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss; 0 without a graph.
        layer: Layer whose outputs are made alike; empty without a graph.
        distance: What is measured there; empty without a graph.
        neighbors: Where they come from; empty without a graph.
        label_share: Share of the training labels that are used.
        seed: Of weights, labels used and order.
        test: Whether the test speakers are scored.
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


def list_runs(config: SweepConfig, grids: Sequence[str] = ()) -> list[Run]:
    """Lists the runs of some grids, each once, cheap and telling ones first.

    Args:
        config: The sweep.
        grids: Their names; empty for the default ones, `all` for every one.

    Returns:
        By grid, then by seed and fold, so that a sweep that is stopped early leaves whole
        comparisons.

    Raises:
        InputError: If there is no such grid.
    """
    names = [*config.grids] if "all" in grids else [*(grids or config.default)]
    for name in names:
        if name not in config.grids:
            raise InputError(f"grids: {name!r} is unknown; known are {', '.join(config.grids)}.")
    return [*dict.fromkeys(run for name in names for run in _runs(config, config.grids[name]))]


def _runs(config: SweepConfig, grid: Grid) -> Iterator[Run]:
    folds = grid.folds or range(len(config.folds))
    for seed, fold, share, network, name in product(
        grid.seeds, folds, grid.label_shares, grid.networks, grid.arms
    ):
        graphless = find_arm(name).likeness is None
        settings = product(grid.n, grid.alpha, grid.layers, grid.distances, grid.neighbors)
        none = (0, 0.0, "", "", "")
        for n, alpha, layer, distance, neighbors in [none] if graphless else settings:
            yield Run(
                corpus=config.target.corpus,
                fold=fold,
                network=network,
                method=name,
                n=n,
                alpha=alpha,
                layer=layer,
                distance=cast(Distance, distance),
                neighbors=cast(NeighborSource, neighbors),
                label_share=share,
                seed=seed,
                test=grid.test,
            )


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
    """
    return read_settings(SweepConfig, config, folder="pipeline/configs/sweeps", overrides=overrides)
