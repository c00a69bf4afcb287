"""The planner: which stages lead from a corpus to scores, in which order, and where each writes.

    manifest ┬ features ───────────────────────────────────────┬ model ─ scores
             └ embeddings ─ (centred, fused, probe) ─ graph ─ training records ┘

A network may also learn from a vector of each clip (its embedding, the probe's probabilities, or
these carried along a graph), and start from one that was taught on speech without labels.

`plan_run` has the plan of an experiment, in one folder. A sweep is the same over several folds:
`plan_folds` has a plan for each, in a folder of its own. Features and embeddings of all clips are
made for the first fold only; other folds divide these records as their speakers are divided.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ser_nsl.audio.features import extract_features
from ser_nsl.audio.resplit import resplit_records
from ser_nsl.corpora import prepare_corpus
from ser_nsl.corpora.prepare import Reading, read_corpus
from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.corpora.synthetic import make_synthetic_corpus
from ser_nsl.corpora.synthetic.corpus import check_synthetic
from ser_nsl.embeddings.center import center_embeddings, check_mix
from ser_nsl.embeddings.fuse import fuse_embeddings
from ser_nsl.embeddings.mfcc import extract_mfccs
from ser_nsl.embeddings.probe import probe_embeddings
from ser_nsl.errors import InputError
from ser_nsl.evaluation.baseline import evaluate_baseline
from ser_nsl.evaluation.model import evaluate
from ser_nsl.graph.build import build_graph
from ser_nsl.graph.controls import control_graph
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.graph.propagate import propagate_labels
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.arms import STARTS, Arm
from ser_nsl.pipeline.experiment import Setup
from ser_nsl.pipeline.stage import Stage
from ser_nsl.pipeline.steps import Step
from ser_nsl.training.pseudo_labels import pseudo_label
from ser_nsl.training.settings import TeachingConfig, TrainingConfig
from ser_nsl.training.teach import teach_network
from ser_nsl.training.train import train_downstream
from ser_nsl.upstream.embed import extract_embeddings

SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
_CENTERED = {"upstream": "embeddings", "mfcc": "mfcc"}
_UNCENTERED = {"upstream": "uncentered", "mfcc": "uncentered_mfcc", "both": "uncentered_both"}


@dataclass(frozen=True)
class Training:
    """One network to train.

    Attributes:
        network: Name of the network.
        arm: What it learns from.
        settings: How it is trained; `label_share` and `seed` are also those of the probe.
        graph: How the arm's graph is built, and how many neighbours it has or are packed.
        neighbors: Most neighbours of a clip that are used; 0 without a graph.
        splits: Whose clips train.
    """

    network: str
    arm: Arm
    settings: TrainingConfig
    graph: GraphConfig = GraphConfig()
    neighbors: int = 0
    splits: tuple[Literal["train", "val"], ...] = ("train",)

    @property
    def known_labels(self) -> dict[str, Any]:
        """The labels that a probe knows: the share, the seed that draws them, and whose."""
        share = self.settings.label_share
        seed = self.settings.seed if share < 1 else 0
        return {"label_share": share, "seed": seed, "splits": self.splits}

    @property
    def probe_name(self) -> str:
        """Name of the probe that knows these labels."""
        share = self.settings.label_share
        name = f"probe_{share:g}_{self.settings.seed}" if share < 1 else "probe"
        return "-".join([name, *self.splits[1:]])


@dataclass
class Plan:
    """Steps of one folder, in the order in which they can run, each output once.

    Each method adds the steps that make one thing, unless they are there, and returns its path.

    Attributes:
        setup: Corpus, front end and lengths; its target has the split of this folder.
        folder: Folder for everything that is made.
        upstream: Folder or hub name of the checkpoint that embeds clips.
        splits: Splits that are embedded.
        speech: Folders of speech on which networks are taught before, if any.
        teaching: How they are taught.
        fold: Seed of random graphs; None for a run, which has one graph only.
        first: Plan of the first fold, whose records this fold divides again; None for a run and for
            the first fold itself.
        steps: The steps by output.
    """

    setup: Setup
    folder: Path
    upstream: str
    splits: tuple[Literal["train", "val", "test"], ...] = SPLITS
    speech: tuple[Path, ...] = ()
    teaching: TeachingConfig = TeachingConfig()
    fold: int | None = None
    first: "Plan | None" = None
    steps: dict[Path, Step] = field(default_factory=dict)

    def add(self, function: Stage, name: str | Path, /, **arguments: Any) -> Path:
        """Adds a step, unless one with this output is there, and returns the output."""
        out = self.folder / name
        self.steps.setdefault(out, Step(function, {**arguments, "out": out}))
        return out

    def manifest(self) -> Path:
        """List of the target's clips with their splits."""
        return self.corpus(self.setup.target, "target")

    def corpus(self, corpus: CorpusConfig, role: str) -> Path:
        """List of the clips of a corpus, which is made on the spot if it is synthetic."""
        settings = dict(vars(corpus))
        synthetic = settings.pop("synthetic")
        if synthetic is not None:
            settings["audio_dir"] = (self.first or self).add(
                make_synthetic_corpus, f"{role}/audio", corpus=corpus.corpus, **vars(synthetic)
            )
        return self.add(prepare_corpus, f"{role}/manifest.csv", **settings)

    def features(self, training: Training | None = None) -> Path:
        """Log Mel records; those of a training may have pseudo-labels where labels are hidden."""
        setup, name = self.setup, "features"
        settings = {"clip_seconds": setup.clip_seconds, "copies": setup.copies}
        features = self._clips(extract_features, name, front_end=setup.front_end, **settings)
        if training is None or not training.arm.pseudo_labels:
            return features
        name, known = f"pseudo_labels/{training.probe_name}", training.known_labels
        probe = self.probe(training)
        return self.add(pseudo_label, name, features=features, embeddings=probe, **known)

    def uncentered(self, kind: str) -> Path:
        """Embeddings as they are, a key of `BASELINES`; centring needs speakers.

        Centred ones have another name, since a stage replaces only what it has made itself.
        """
        name = _UNCENTERED[kind]
        if kind == "both":
            both = (self.uncentered("upstream"), self.uncentered("mfcc"))
            return self.add(fuse_embeddings, name, embeddings=both)
        if kind == "mfcc":
            return self._clips(extract_mfccs, name, splits=self.splits)
        return self._clips(extract_embeddings, name, splits=self.splits, **self._embedding)

    def centered(self, kind: str) -> Path:
        """Embeddings less the mean of each speaker's clips, where the plan centres them."""
        embeddings, name = self.uncentered(kind), _CENTERED[kind]
        if self.setup.center is None:
            return embeddings
        return self.add(center_embeddings, name, embeddings=embeddings, manifest=self.manifest())

    def fused(self) -> Path:
        """Embeddings of the upstream beside MFCCs."""
        both = (self.centered("upstream"), self.centered("mfcc"))
        return self.add(fuse_embeddings, "fused", embeddings=both)

    def probe(self, training: Training) -> Path:
        """Probabilities of emotions, from a probe that knows the labels that training knows."""
        return self.add(
            probe_embeddings,
            training.probe_name,
            embeddings=self.fused(),
            manifest=self.manifest(),
            **training.known_labels,
        )

    def propagated(self, training: Training) -> Path:
        """The probe's probabilities, corrected along the graph of a training."""
        arm = training.arm
        name = "_".join(filter(None, [arm.embeddings, arm.control, training.probe_name]))
        return self.add(
            propagate_labels,
            f"propagated/{name}",
            graph=self.graph(training),
            embeddings=self.probe(training),
            manifest=self.manifest(),
            **training.known_labels,
        )

    def vectors(self, training: Training) -> Path | None:
        """What a training learns of each clip beside its label, other than by a graph."""
        arm = training.arm
        if arm.method == "probabilities":
            return self.propagated(training) if arm.propagates else self.probe(training)
        if arm.is_taught:
            return self.centered("upstream")
        return self.uncentered("upstream") if arm.is_transfer else None

    def start(self, training: Training) -> Path | None:
        """A network that was taught on speech without labels, before or once for all folds."""
        shared, setup = self.first or self, self.setup
        given = given_start(setup, training)
        if given or not training.arm.start or not shared.speech:
            return given
        method = STARTS[training.arm.start]
        layers = setup.layers or shared.teaching.layers
        return shared.add(
            teach_network,
            f"taught/{training.network}_{method}",
            speech=shared.speech,
            teacher=shared.upstream,
            model=training.network,
            method=method,
            front_end=setup.front_end,
            config=replace(shared.teaching, layers=layers),
        )

    def graph(self, training: Training) -> Path:
        """The graph of a training, or its control."""
        config, folder = training.graph, self._graph_folder("graph", training)
        name, knows = "graph", training.arm.control == "oracle"
        if config.edges == "nearest" and self.fold is not None:  # which may have several sizes
            name = f"{'oracle' if knows else 'nearest'}_{config.max_neighbors}"
        graph = self.add(
            build_graph,
            f"{folder}/{name}.tsv",
            embeddings=self._graph_embeddings(training),
            manifest=self.manifest() if config.across_speakers or knows else None,
            splits=training.splits,
            within_emotions=knows,
            **config.building,
        )
        return self._control(graph, folder, training)

    def training_records(self, training: Training) -> Path:
        """Clips packed with their neighbours."""
        arm = training.arm
        changes = [arm.control or "", f"{100 * arm.purity:.0f}" if arm.purity else ""]
        changes.append(f"pseudo_labels_{training.probe_name}" if arm.pseudo_labels else "")
        return self.add(
            pack_neighbors,
            self._graph_folder("training", training, *changes, f"{training.neighbors}"),
            features=self.features(training),
            graph=self.graph(training),
            max_neighbors=training.graph.max_neighbors,
            splits=training.splits,
            form=training.graph.packing,
        )

    def inputs(self, training: Training) -> dict[str, Path | None]:
        """What a training reads: arguments of `train_downstream`."""
        return {
            "features": self.features(training),
            "training_records": self.training_records(training) if training.arm.has_graph else None,
            "embeddings": self.vectors(training),
            "start": self.start(training),
        }

    def model(self, training: Training, name: str | Path) -> Path:
        """The trained network."""
        settings = training.settings
        if training.arm.pseudo_labels:  # no label is hidden any more
            settings = replace(settings, label_share=1.0)
        return self.add(
            train_downstream,
            name,
            **self.inputs(training),
            model=training.network,
            method=training.arm.method,
            max_neighbors=training.neighbors,
            splits=training.splits,
            training=settings,
        )

    def scores(
        self,
        training: Training,
        model: Path,
        name: str | Path,
        base: Path | None = None,
        split: Literal["val", "test"] = "test",
    ) -> Path:
        """Scores of a trained network on a split, and whether they are above base's."""
        return self.add(
            evaluate,
            name,
            model_dir=model,
            records=self.features(),
            split=split,
            embeddings=self.vectors(training) if training.arm.is_transfer else None,
            compare_with=base,
        )

    def baseline(self, kind: str, training: Training, name: str | Path) -> Path:
        """Scores of a linear classifier on embeddings as they are, a key of `BASELINES`."""
        return self.add(
            evaluate_baseline,
            name,
            embeddings=self.uncentered(kind),
            manifest=self.manifest(),
            **training.known_labels,
        )

    @property
    def _embedding(self) -> dict[str, Any]:
        """How the upstream embeds clips: arguments of `extract_embeddings`."""
        setup = self.setup
        return {
            "upstream": self.upstream,
            "layers": setup.layers or None,
            "pooling": setup.pooling,
            "clip_seconds": setup.clip_seconds,
        }

    def _clips(self, function: Stage, name: str, **settings: Any) -> Path:
        """Records of clips, made once for all folds: they depend on the fold in their splits only.

        The statistics of MFCCs are standardised over the training clips, so once more for each.
        """
        if self.first is None:
            return self.add(function, name, manifest=self.manifest(), **settings)
        return self.add(
            resplit_records,
            name,
            records=self.first._clips(function, name, **settings),
            manifest=self.manifest(),
            splits=self.splits,
            standardise=function is extract_mfccs,
        )

    def _graph_embeddings(self, training: Training) -> Path:
        kind = training.graph.embeddings
        if training.arm.paper:
            return self.uncentered(kind)
        if kind == "probe":
            return self.probe(training)
        return self.fused() if kind == "fused" else self.centered(kind)

    def _graph_folder(self, role: str, training: Training, *changes: str) -> str:
        """Folder of a graph or of its records: in a run there is one, in a fold one for each."""
        if self.fold is None:
            return role
        kind = "paper" if training.arm.paper else training.graph.embeddings
        kind = training.probe_name if kind == "probe" else kind
        name = "_".join(filter(None, [kind, *changes]))
        return "-".join([role, *training.splits[1:]]) + f"/{name}"

    def _control(self, graph: Path, folder: str, training: Training) -> Path:
        """The graph itself, or a random one of its degrees, or one with wrong edges mixed in."""
        arm, nearest = training.arm, training.graph.max_neighbors
        mixed = None if arm.purity is None else f"oracle_{nearest}_purity_{100 * arm.purity:.0f}"
        name = f"random_{nearest}" if arm.control == "random" else mixed
        if name is None:
            return graph
        return self.add(
            control_graph,
            f"{folder}/{name}.tsv",
            graph=graph,
            manifest=self.manifest(),
            kind=arm.control,
            purity=arm.purity,
            seed=self.fold,
        )


def given_start(setup: Setup, training: Training) -> Path | None:
    """Returns the taught network that a training starts from, if there is one already.

    Args:
        setup: An experiment or a sweep.
        training: One of its trainings.
    """
    learned = STARTS.get(training.arm.start)
    return setup.starts.get(training.network) if learned == "frames" else None


def check_corpus(
    corpus: CorpusConfig, *, centers: bool, across_speakers: bool = False
) -> Reading | None:
    """Refuses a corpus that a stage would refuse, before any stage runs and without decoding.

    Args:
        corpus: The corpus.
        centers: Whether embeddings of its clips are centred by speaker.
        across_speakers: Whether its graph never joins clips of one speaker.

    Returns:
        What was found; None for synthetic speech, which is still to be made.

    Raises:
        InputError: As `read_corpus`, `center_embeddings` and `build_graph`, or if there are no two
            emotions.
    """
    if corpus.synthetic is not None:
        check_synthetic(corpus.corpus, **vars(corpus.synthetic))
        return None
    reading = read_corpus(corpus)
    emotions = {*reading.rows["emotion"]} - {""}
    if len(emotions) < 2:
        raise InputError(
            f"{reading.source}: must have clips of two emotions or more to train with; it has "
            f"{', '.join(emotions) or 'none'} only. {' '.join(reading.doubts[:1])}".rstrip()
        )
    without = (reading.rows["speaker"] == "").sum()
    for needs, setting in (
        (centers, "center: null"),
        (across_speakers, "graph.across_speakers: false"),
    ):
        if needs and without:
            raise InputError(
                f"{setting.partition(':')[0]}: needs to know who speaks, and {without:,} of "
                f"{len(reading.rows):,} clips of {reading.source} have no speaker; give speakers, "
                f"or choose {setting}."
            )
    if centers:
        check_mix(reading.rows, reading.source)
    return reading


def check_layers(setup: Setup) -> None:
    """Refuses layers that the upstream does not have, if it is in a folder, before any stage runs.

    Args:
        setup: The experiment or sweep.

    Raises:
        InputError: If there is no such layer, or its `config.json` is at fault.
    """
    folder = Path(setup.upstream)
    if setup.layers and (folder / "config.json").is_file():
        from ser_nsl.upstream.config import read_config  # loads for seconds

        depth = read_config(folder, setup.upstream).num_hidden_layers
        if max(setup.layers) > depth:
            raise InputError(
                f"layers: must be 0 to {depth} of the upstream {setup.upstream}; received "
                f"{', '.join(map(str, setup.layers))}."
            )
