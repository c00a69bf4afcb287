"""Settings of a run of the whole chain: those of every stage, read from one YAML file.

The files of `ser_nsl/pipeline/configs` are found by name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.arms import PSEUDO_LABELS, find_arm
from ser_nsl.pipeline.settings import check, read_settings
from ser_nsl.training.settings import Method, TrainingConfig
from ser_nsl.upstream.encoder import Pooling
from ser_nsl.upstream.settings import FineTuningConfig, HeadConfig


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What experiments and sweeps have in common.

    Attributes:
        name: Short name, which is also that of the folder: letters, digits, `_`, `-` and dots.
        title: One line for the report.
        target: The corpus that the recogniser is for.
        upstream: Hub name or folder of a wav2vec 2.0, a HuBERT or a Whisper.
        layers: Layers of its encoder that embed the target, as in `extract_embeddings`; by default
            FC1 of its emotion head.
        pooling: Of these layers' frames over time, as in `extract_embeddings`.
        center: `speaker` subtracts from each embedding the mean of its speaker's clips before
            graphs are built; None leaves embeddings as they are.
        clip_seconds: Length of the target's clips in seconds; None for that of the longest
            training clip (in sweeps, of their first division).
        front_end: From waveform to log Mel.
        copies: Number of damaged copies of each clip, for training; 0 for none. A trial of a sweep
            may say `copies: false`.
        graph: How the graph is built and used; in a sweep that of the arm `paper`.
        starts: Networks that were taught before, by `teach_network`, by the name of the network:
            folders. An experiment starts from them, a sweep in its arms `start_...`.
        speech: Folders of speech without labels, not of the target. From them the file that an
            experiment exports learns what speech is, beside the training clips; in a sweep they
            teach the networks of the arms `start_graph_...`, and of `start_...` for which `starts`
            has none.
        training: How networks are trained; what an experiment's `seeds` or a sweep's grids set
            replaces the values here.
        caution: What a reader must know before trusting the figures.
    """

    name: str
    title: str
    target: CorpusConfig
    upstream: str = "models/whisper-base-lower"
    layers: tuple[int, ...] = ()
    pooling: Pooling = "statistics"
    center: str | None = None
    clip_seconds: float | None = None
    front_end: FrontEndConfig = FrontEndConfig()
    copies: int = 0
    graph: GraphConfig = GraphConfig()
    starts: dict[str, Path] = field(default_factory=dict)
    speech: tuple[Path, ...] = ()
    training: TrainingConfig = TrainingConfig()
    caution: str = ""

    def __post_init__(self) -> None:
        check(self.center in (None, "speaker"), "center", "speaker or null", self.center)
        rule = "the name of a folder: letters, digits, _, - and dots within, up to 100"
        check(re.fullmatch(r"\w[\w.-]{0,99}", self.name) is not None, "name", rule, self.name)
        rule = "numbers from 0, each once"
        whole = len({*self.layers}) == len(self.layers) and min(self.layers, default=0) >= 0
        check(whole, "layers", rule, self.layers)
        poolings = get_args(Pooling)
        check(self.pooling in poolings, "pooling", f"one of {poolings}", self.pooling)
        check(0 <= self.copies <= 100, "copies", "0 to 100", self.copies)
        if self.clip_seconds is not None:
            self.front_end.clip_samples(self.clip_seconds)
        target = self.target.audio_dir
        if target and {target, *target.parents} & {*self.speech}:
            raise ValueError(
                f"speech: must not hold the target, whose speakers test; received {target}"
            )


@dataclass(frozen=True, kw_only=True)
class Experiment(Setup):
    """Everything that a run of the whole chain depends on.

    Attributes:
        source: The corpus that teaches the upstream; read only with `finetuning` or `head`.
        finetuning: How the whole upstream, a wav2vec 2.0, is trained on the source.
        head: How an emotion head is trained on the source, the encoder frozen. Without both, the
            upstream's own head is used.
        networks: Light networks to train.
        methods: Methods of `train_downstream`, or `pseudo_labels`: `base`, where clips without a
            label have that which a probe reads. Each is trained for each network and seed.
        seeds: Seeds of the trainings; results are means over them.

    Example:
        >>> from dataclasses import replace
        >>> experiment = replace(load_experiment("smoke"), seeds=(0, 1, 2))
        >>> experiment.networks, experiment.methods, experiment.seeds
        (('cnn_tdnn',), ('base', 'embedding', 'nsl'), (0, 1, 2))
    """

    source: CorpusConfig | None = None
    finetuning: FineTuningConfig | None = None
    head: HeadConfig | None = None
    networks: tuple[str, ...] = ("cnn_tdnn",)
    methods: tuple[str, ...] = ("base", "nsl")
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "null where there is finetuning: either trains the upstream"
        check(self.finetuning is None or self.head is None, "head", rule, "both")
        rule = "given where there is finetuning or a head"
        check(not self.learns or self.source is not None, "source", rule, self.source)
        known = {*get_args(Method), PSEUDO_LABELS}
        check(set(self.methods) <= known, "methods", f"among {sorted(known)}", self.methods)
        probed = self.graph.embeddings == "probe" or PSEUDO_LABELS in self.methods
        drawn = probed and self.training.label_share < 1
        rule = "one where a probe knows a share of the labels, which the seed draws"
        check(not drawn or len(self.seeds) == 1, "seeds", rule, self.seeds)
        for name in ("networks", "methods", "seeds"):
            values = getattr(self, name)
            check(len(set(values)) == len(values) > 0, name, "one or more, all different", values)

    @property
    def has_graph(self) -> bool:
        """Whether a method learns from a graph, so that a run builds one."""
        return any(find_arm(method).has_graph for method in self.methods)

    @property
    def learns(self) -> bool:
        """Whether the upstream learns the source in a run."""
        return self.finetuning is not None or self.head is not None


def load_experiment(
    config: str, overrides: Sequence[str] = (), *, upstream: str | None = None
) -> Experiment:
    """Reads an experiment.

    Args:
        config: Name of a file in `ser_nsl/pipeline/configs`, without suffix, or path of a YAML
            file.
        overrides: Settings to change, as `training.epochs=5` or `seeds=[0,1]`.
        upstream: Hub name or folder of another upstream. It learns the source as the file says;
            if the file names neither a lesson nor layers, an emotion head is trained on it.

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
    lesson: dict[str, Any] = {} if experiment.learns or experiment.layers else {"head": {}}
    return read(changes={"upstream": upstream, **lesson})
