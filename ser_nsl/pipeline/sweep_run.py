"""The trainings of a sweep: what tells one from the others, and what some have in common."""

from dataclasses import dataclass, fields

from ser_nsl.pipeline.arms import OF_GRAPH


@dataclass(frozen=True)
class Setting:
    """What runs have in common that differ in fold, seed and trial only.

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

    @property
    def graph(self) -> tuple[int, float | None, str | None, str | None, str | None]:
        """How the graph is used, whatever graph it is."""
        return self.n, self.alpha, self.layer, self.distance, self.neighbors


@dataclass(frozen=True)
class Run:
    """One training of a sweep.

    Attributes:
        corpus: Name of the corpus.
        fold: Number of the fold, from 0.
        network: Name of the network; `LINEAR` for a linear classifier.
        method: Name of the arm; what a linear classifier reads, a key of `BASELINES`.
        n: Most neighbours of a clip; 0 without a graph.
        alpha: Weight of the graph's part of the loss; 0 without a graph. This and the following
            three are None where trials set them.
        layer: Layer whose outputs the graph makes similar; empty without a graph.
        distance: Distance between these outputs; empty without a graph.
        neighbors: Where neighbours come from; empty without a graph.
        label_share: Share of the training labels that are used.
        seed: Seed of weights, labels used and order.
        trial: Name of the trial; empty for a run that scores test speakers, with the trial and the
            number of epochs that were chosen.

    Example:
        >>> from ser_nsl.pipeline import list_runs, load_sweep
        >>> run = list_runs(load_sweep("emodb"), ["small"])[-1]
        >>> run.fold, run.network, run.label_share, run.seed, run.test
        (4, 'cnn_tdnn', 0.25, 0, True)
    """

    corpus: str
    fold: int
    network: str
    method: str
    n: int
    alpha: float | None
    layer: str | None
    distance: str | None
    neighbors: str | None
    label_share: float
    seed: int
    trial: str

    @property
    def test(self) -> bool:
        """Whether test speakers are scored."""
        return not self.trial

    @property
    def setting(self) -> Setting:
        """What it has in common with the runs of other folds, seeds and trials."""
        return Setting(**{each.name: getattr(self, each.name) for each in fields(Setting)})


LINEAR = "linear"
"""What linear classifiers have in place of a network's name."""
WITHOUT_GRAPH = (0, 0.0, "", "", "")
"""`n`, `alpha`, `layer`, `distance` and `neighbors` of a run without a graph."""
SET_BY_RUNS = (*OF_GRAPH, "edges", "label_share", "seed")
"""Settings of training that differ from run to run of a sweep."""
