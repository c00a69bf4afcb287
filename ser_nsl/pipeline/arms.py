"""What a sweep compares: ways to train, and the graphs that they learn from."""

import re
from dataclasses import dataclass

from ser_nsl.training.settings import Method


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        title: What it learns from, in a few words.
        method: Of `train_downstream`.
        likeness: Which embeddings say who is alike: `upstream`, `mfcc`, `fused` or `probe`,
            centred by speaker and with edges between speakers only; `paper`, the upstream's as
            they are, with edges within speakers too; or none.
        control: What is done to the graph: nothing, `random` or `oracle`.
        edges: Of `TrainingConfig`.
        purity: Share of edges that join one emotion, for the oracle with wrong edges mixed in.
        guessed: Whether hidden labels are those that the probe guesses.
    """

    title: str
    method: Method = "nsl"
    likeness: str | None = "upstream"
    control: str | None = None
    edges: str = "all"
    purity: float | None = None
    guessed: bool = False

    @property
    def joins(self) -> bool:
        """Whether the upstream's embedding joins the network, as in the paper's transfer."""
        return self.method in ("add", "max", "avg")

    @property
    def probes(self) -> bool:
        """Whether a probe, which reads training clips only, has a part in it."""
        return self.likeness == "probe" or self.guessed

    @property
    def random_twin(self) -> str:
        """The control whose edges are chosen among in the same way."""
        return "random_agreeing" if self.edges == "agreeing" else "random"


ARMS = {
    "base": Arm("labels only", "base", None),
    "guessed": Arm(
        "labels, the hidden ones guessed by the probe; no graph", "base", None, guessed=True
    ),
    "paper": Arm("labels and the paper's graph", likeness="paper"),
    "nsl": Arm("labels and graph"),
    "agreeing": Arm("graph without edges between known, different labels", edges="agreeing"),
    "mfcc": Arm("graph from MFCCs", likeness="mfcc"),
    "fused": Arm("graph from upstream and MFCCs", likeness="fused"),
    "fused_agreeing": Arm(
        "graph from upstream and MFCCs without edges between known, different labels",
        likeness="fused",
        edges="agreeing",
    ),
    "probe": Arm(
        "graph from what a linear probe, trained on the known labels, reads from both",
        likeness="probe",
        edges="agreeing",
    ),
    "guessed_fused": Arm(
        "hidden labels guessed by the probe, and a graph from upstream and MFCCs",
        likeness="fused",
        edges="agreeing",
        guessed=True,
    ),
    "guessed_probe": Arm(
        "hidden labels guessed by the probe, and the probe's graph",
        likeness="probe",
        edges="agreeing",
        guessed=True,
    ),
    "random": Arm("random graph of the degrees of nsl's", control="random"),
    "random_agreeing": Arm(
        "random graph of the degrees of probe's, without edges between known, different labels",
        likeness="probe",
        control="random",
        edges="agreeing",
    ),
    "oracle": Arm("graph that knows all labels (not fair)", control="oracle"),
    "add": Arm("labels; fc1 plus embedding", "add", None),
    "max": Arm("labels; larger of fc1 and embedding", "max", None),
    "avg": Arm("labels; mean of fc1 and embedding", "avg", None),
}
"""By name, in the order of tables and figures; beside them `purity_40` and the like."""


def find_arm(name: str) -> Arm:
    """Finds an arm by name.

    Args:
        name: One of `ARMS`, or `purity_` and a percentage.

    Raises:
        KeyError: If there is none.
    """
    mixed = re.fullmatch(r"purity_(\d{1,2}|100)", name)
    if mixed:
        purity = int(mixed[1]) / 100
        return Arm(f"oracle with wrong edges, {purity:.0%} right", control="oracle", purity=purity)
    return ARMS[name]
