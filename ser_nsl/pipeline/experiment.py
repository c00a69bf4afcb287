"""What an experiment is: frozen dataclasses, checked when made, read from one YAML file.

The files in `ser_nsl/pipeline/configs` are experiments; `load_experiment` finds them by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.settings import check, read_settings
from ser_nsl.training.settings import Method, TrainingConfig
from ser_nsl.upstream.settings import FineTuningConfig, PretrainingConfig, SmallUpstreamConfig

__all__ = ["Experiment", "load_experiment"]


@dataclass(frozen=True)
class Experiment:
    """Everything that a run of the whole chain depends on.

    Attributes:
        name: Short name, which is also that of the run's folder.
        title: One line for the report.
        target: The corpus that the recogniser is for.
        source: The corpus that teaches the upstream; read only where there is adaptation or
            finetuning.
        upstream: Hub name or folder of a wav2vec 2.0 checkpoint; None makes a small one with
            random weights.
        small_upstream: Its size, where `upstream` is None.
        adaptation: How the upstream first learns from the training clips of target and source,
            without labels; None leaves this out.
        finetuning: How the upstream learns the source; None takes its emotion head as it is.
        clip_seconds: Length of the target's clips; None for that of the longest.
        center: What is taken out of embeddings before the graph is built: the mean over a
            `speaker`'s clips, or over the `corpus`; None takes out nothing, as the paper.
        front_end: From waveform to log Mel.
        graph: How the graph is built and used.
        networks: Light networks to train.
        methods: `base`, `nsl`, `add`, `max`, `avg`; all are trained for each network and seed.
        seeds: Of the trainings; results are means over them.
        training: How the networks are trained; `seed` is replaced by each of `seeds`.
        caution: What a reader must know before trusting the figures.
    """

    name: str
    title: str
    target: CorpusConfig
    source: CorpusConfig | None = None
    upstream: str | None = None
    small_upstream: SmallUpstreamConfig = SmallUpstreamConfig()
    adaptation: PretrainingConfig | None = None
    finetuning: FineTuningConfig | None = FineTuningConfig()
    clip_seconds: float | None = None
    center: str | None = None
    front_end: FrontEndConfig = FrontEndConfig()
    graph: GraphConfig = GraphConfig()
    networks: tuple[str, ...] = ("resnet9",)
    methods: tuple[str, ...] = ("base", "nsl")
    seeds: tuple[int, ...] = (0,)
    training: TrainingConfig = TrainingConfig()
    caution: str = ""

    def __post_init__(self) -> None:
        check(
            self.finetuning is None or self.source is not None,
            "source",
            "given where there is finetuning",
            self.source,
        )
        check(
            self.finetuning is not None or self.upstream is not None,
            "upstream",
            "given where there is no finetuning",
            self.upstream,
        )
        centers = (None, "speaker", "corpus")
        check(self.center in centers, "center", f"one of {centers}", self.center)
        if self.clip_seconds is not None:
            samples = round(self.clip_seconds * self.front_end.sample_rate_hz)
            window = self.front_end.window_samples
            check(samples >= window, "clip_seconds", "one window or more", self.clip_seconds)
        known = set(get_args(Method))
        check(set(self.methods) <= known, "methods", f"some of {sorted(known)}", self.methods)
        check(
            self.finetuning is not None or self.adaptation is None,
            "finetuning",
            "given where there is adaptation, which the emotion head has to follow",
            self.finetuning,
        )
        drawn = self.graph.likeness == "probe" and self.training.label_share < 1
        rule = "one where a probe knows a share of the labels, which the seed draws"
        check(not drawn or len(self.seeds) == 1, "seeds", rule, self.seeds)
        for name in ("networks", "methods", "seeds"):
            values = getattr(self, name)
            check(len(set(values)) == len(values) > 0, name, "one or more, all different", values)

    @property
    def reads_source(self) -> bool:
        """Whether the upstream learns anything from the source in a run."""
        return self.source is not None and (self.adaptation or self.finetuning) is not None


def load_experiment(
    config: str, overrides: Sequence[str] = (), *, upstream: str | None = None
) -> Experiment:
    """Reads an experiment.

    Args:
        config: Name of a file in `ser_nsl/pipeline/configs`, without suffix, or path of a YAML
            file.
        overrides: Settings to change, as `training.epochs=5` or `seeds=[0,1]`.
        upstream: Hub name or folder of another upstream, to be fine-tuned on the source: as the
            file says, or as the paper says if the file's own upstream needs no fine-tuning.

    Returns:
        The experiment, checked.

    Raises:
        InputError: If there is no such file, a key is unknown, or a value breaks its rule.
    """
    another: dict[str, Any] = {}
    if upstream:
        another = {"upstream": upstream, "adaptation": None, "finetuning": {}}
    return read_settings(
        Experiment, config, folder="pipeline/configs", overrides=overrides, changes=another
    )
