"""What a sweep compares: ways to train, and the graphs that networks learn from."""

import re
from dataclasses import dataclass, replace

from ser_nsl.training.settings import TAUGHT, TRANSFERS, Lessons, Method

STARTS: dict[str, Lessons] = {"start_": "frames", "start_graph_": "similarity"}
"""Before the name of an arm: what its network has learned of the upstream before, by the methods of
`teach_network`, on speech without labels."""
OF_GRAPH = ("alpha", "layer", "distance", "neighbors")
"""Settings of training with a graph."""


@dataclass(frozen=True)
class Arm:
    """A way to train a network.

    Attributes:
        title: What the network learns from, in a few words.
        method: Method of `train_downstream`.
        embeddings: Embeddings that the graph is built on: `upstream`, `mfcc`, `fused` or `probe`;
            None without a graph.
        paper: Whether the graph is the paper's: built on embeddings as they are, by the settings
            `graph` of the sweep, with edges within speakers. Other arms centre embeddings by
            speaker and keep edges between speakers only.
        control: What replaces the graph: `random`, `oracle`, or None for the graph itself.
        edges: Edges that training uses, `all` or `agreeing`, as in `TrainingConfig`.
        purity: Share of edges that join one emotion, for the oracle with wrong edges mixed in.
        pseudo_labels: Whether the probe's predictions replace the labels that are hidden.
        start: Key of `STARTS` for a network that has learned before; empty for a new one.
    """

    title: str
    method: Method = "nsl"
    embeddings: str | None = "upstream"
    paper: bool = False
    control: str | None = None
    edges: str = "all"
    purity: float | None = None
    pseudo_labels: bool = False
    start: str = ""

    @property
    def has_graph(self) -> bool:
        """Whether the loss of training uses a graph, be it a control."""
        return self.method == "nsl"

    @property
    def has_real_graph(self) -> bool:
        """Whether the loss of training uses a graph that is no control."""
        return self.has_graph and self.control is None

    @property
    def propagates(self) -> bool:
        """Whether a graph, be it a control, carries labels before training."""
        return self.method == "probabilities" and self.embeddings is not None

    @property
    def is_taught(self) -> bool:
        """Whether the network learns from a vector of each clip, in training only."""
        return self.method in TAUGHT

    @property
    def is_transfer(self) -> bool:
        """Whether the upstream's embedding joins the network, as in the paper's transfer."""
        return self.method in TRANSFERS

    @property
    def uses_probe(self) -> bool:
        """Whether training depends on a probe."""
        return self.embeddings == "probe" or self.pseudo_labels or self.method == "probabilities"

    @property
    def random_control(self) -> str | None:
        """Name of the arm with a random graph in place of this one; None where there is none."""
        if self.embeddings is None or self.control == "random" or self.pseudo_labels:
            return None
        if self.propagates:
            name = "random_propagated"
        elif self.paper:
            name = "random_paper"
        else:
            name = "random_agreeing" if self.edges == "agreeing" else "random"
        return self.start + name

    @property
    def hard_control(self) -> str | None:
        """Name of plain training on the pseudo-labels of the probe that this arm uses otherwise."""
        otherwise = self.uses_probe and self.method != "base" and self.control is None
        return f"{self.start}{PSEUDO_LABELS}" if otherwise else None

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the arms without which nothing can be said of others than base, base first."""
        twin = None if self.control or self.paper else self.random_control
        names = ("base", self.start and f"{self.start}base", twin, self.hard_control)
        return tuple(name for name in names if name)


BASELINES = {
    "mfcc": "MFCC statistics",
    "upstream": "the upstream's embeddings",
    "both": "the upstream's embeddings and MFCC statistics",
}
"""What the linear classifiers of runs and sweeps read, by kind of embedding."""

PSEUDO_LABELS = "pseudo_labels"
"""The arm that runs have beside the methods of `train_downstream`."""

ARMS = {
    "base": Arm("labels only", "base", None),
    PSEUDO_LABELS: Arm(
        "labels, and the probe's pseudo-labels where they are hidden; no graph",
        "base",
        None,
        pseudo_labels=True,
    ),
    "embedding": Arm("labels and the upstream's embeddings", "embedding", None),
    "similarity": Arm("labels and the upstream's similarities in a batch", "similarity", None),
    "probabilities": Arm("labels and the probe's probabilities", "probabilities", None),
    "propagated": Arm(
        "labels and the probe's probabilities, corrected along a graph from upstream and MFCCs",
        "probabilities",
        "fused",
    ),
    "paper": Arm("labels and the paper's graph", paper=True),
    "nsl": Arm("labels and graph"),
    "agreeing": Arm("graph without edges between known, different labels", edges="agreeing"),
    "mfcc": Arm("graph from MFCCs", embeddings="mfcc"),
    "fused": Arm("graph from upstream and MFCCs", embeddings="fused"),
    "probe": Arm(
        "graph from what a linear probe, trained on the known labels, reads from both",
        embeddings="probe",
        edges="agreeing",
    ),
    "pseudo_labels_fused": Arm(
        "pseudo-labels where labels are hidden, and a graph from upstream and MFCCs",
        embeddings="fused",
        edges="agreeing",
        pseudo_labels=True,
    ),
    "pseudo_labels_probe": Arm(
        "pseudo-labels where labels are hidden, and the probe's graph",
        embeddings="probe",
        edges="agreeing",
        pseudo_labels=True,
    ),
    "random": Arm("random graph with the degrees of nsl's", control="random"),
    "random_agreeing": Arm(
        "random graph with the degrees of probe's, without edges between known, different labels",
        embeddings="probe",
        control="random",
        edges="agreeing",
    ),
    "random_paper": Arm("random graph with the degrees of paper's", paper=True, control="random"),
    "random_propagated": Arm(
        "the probe's probabilities, corrected along a random graph",
        "probabilities",
        "fused",
        control="random",
    ),
    "oracle": Arm("graph that knows all labels (not fair)", control="oracle"),
    "add": Arm("labels; fc1 plus embedding", "add", None),
    "max": Arm("labels; larger of fc1 and embedding", "max", None),
    "avg": Arm("labels; mean of fc1 and embedding", "avg", None),
}
"""By name, in the order of tables and figures; `find_arm` knows others by their names too."""


def find_arm(name: str) -> Arm:
    """Returns an arm by name.

    Args:
        name: A key of `ARMS`; one after a key of `STARTS`, as `start_base`; or `purity_` and a
            percentage.

    Raises:
        KeyError: If there is no such arm.

    Example:
        >>> find_arm("start_graph_nsl").references
        ('base', 'start_graph_base', 'start_graph_random')
    """
    for start in sorted(STARTS, key=len, reverse=True):
        if name.startswith(start):
            arm = ARMS[name.removeprefix(start)]
            title = f"{arm.title}; taught {STARTS[start]} before, on speech without labels"
            return replace(arm, title=title, start=start)
    mixed = re.fullmatch(r"purity_(\d{1,2}|100)", name)
    if mixed:
        purity = int(mixed[1]) / 100
        return Arm(f"oracle with wrong edges, {purity:.0%} right", control="oracle", purity=purity)
    return ARMS[name]
