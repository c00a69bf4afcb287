"""What an experiment is: frozen dataclasses, checked when made, read from one YAML file.

The files in `ser_nsl/configs` are experiments; `load_experiment` finds them by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from ser_nsl.settings import read_settings

__all__ = [
    "PRECISIONS",
    "AugmentationConfig",
    "CorpusConfig",
    "Experiment",
    "FrontEndConfig",
    "GraphConfig",
    "PretrainingConfig",
    "SmallUpstreamConfig",
    "SplitConfig",
    "SyntheticConfig",
    "TrainingConfig",
    "UpstreamConfig",
    "load_experiment",
]


def _check(holds: bool, name: str, rule: str, value: object) -> None:
    """Refuses a setting in one form of words."""
    if not holds:
        raise ValueError(f"{name} must be {rule}; received {value!r}")


PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
"""In what trainings can compute, as Keras names it."""

Method = Literal["base", "nsl", "add", "max", "avg"]
"""Ways to train a light network."""

Builder = Literal["auto", "official", "exact", "approximate"]
"""How a graph is built."""

NeighborSource = Literal["packed", "batch", "bank"]
"""Where neighbours come from in training."""

Distance = Literal["cosine", "jensen_shannon"]
"""What the graph's part of the loss measures."""

SplitMethod = Literal[
    "speaker-independent",
    "leave-one-speaker-out",
    "paper",
    "count-equivalent",
    "lists",
    "given",
    "clips",
]


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided into train, val and test.

    Attributes:
        method: `speaker-independent` (seeded, each gender alike), `leave-one-speaker-out`, the
            one of the `paper` (RAVDESS), `count-equivalent` (DEMoS, lists that reproduce
            the paper's counts), `lists` (a JSON file of speakers), `given` (a column of the
            CSV table), or `clips` (for corpora without known speakers).
        seed: For `speaker-independent` and `clips`.
        test_share: Share of the speakers that test, 0 to 1, rounded up for each gender: a quarter
            of 5 women and 5 men is 2 and 2.
        val_share: Share of the remaining speakers that validate, 0 to 1, likewise rounded up.
        fold: For `leave-one-speaker-out`: which speaker tests, from 0, in alphabetical order.
        alternative: For `count-equivalent`: which list, 0 (default) to 10.
        lists: For `lists`: file of the form {"train": [...], "val": [...], "test": [...]}.
    """

    method: SplitMethod = "speaker-independent"
    seed: int = 0
    test_share: float = 0.25
    val_share: float = 0.25
    fold: int = 0
    alternative: int = 0
    lists: Path | None = None

    def __post_init__(self) -> None:
        methods = get_args(SplitMethod)
        _check(self.method in methods, "method", f"one of {methods}", self.method)
        _check(0 < self.test_share < 1, "test_share", "between 0 and 1", self.test_share)
        _check(0 < self.val_share < 1, "val_share", "between 0 and 1", self.val_share)
        _check(self.fold >= 0, "fold", "0 or more", self.fold)
        _check(self.alternative >= 0, "alternative", "0 or more", self.alternative)


@dataclass(frozen=True)
class FrontEndConfig:
    """From waveform to log Mel.

    Attributes:
        sample_rate_hz: Sample rate of the waveform.
        window_samples: Length of the Hann window and of the Fourier transform.
        hop_samples: Step from frame to frame.
        mel_bins: Number of Mel bands.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band, at most half the sample rate.
    """

    sample_rate_hz: int = 16_000
    window_samples: int = 512
    hop_samples: int = 256
    mel_bins: int = 64
    low_hz: float = 0.0
    high_hz: float = 8_000.0

    def __post_init__(self) -> None:
        _check(self.sample_rate_hz > 0, "sample_rate_hz", "positive", self.sample_rate_hz)
        _check(self.window_samples > 1, "window_samples", "at least 2", self.window_samples)
        _check(
            0 < self.hop_samples <= self.window_samples,
            "hop_samples",
            "between 1 and window_samples",
            self.hop_samples,
        )
        _check(self.mel_bins > 0, "mel_bins", "positive", self.mel_bins)
        _check(
            0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2,
            "low_hz, high_hz",
            "rising and at most half the sample rate",
            (self.low_hz, self.high_hz),
        )

    def frames(self, samples: int) -> int:
        """Number of whole windows in so many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)


@dataclass(frozen=True)
class AugmentationConfig:
    """How clips are altered while a network learns from them: anew in every epoch, by default not.

    Masks are those of SpecAugment (arXiv 1904.08779).

    Attributes:
        time_shift_frames: Most frames by which a clip is rolled to either side.
        time_masks: Stretches of a clip that are hidden.
        time_mask_frames: Most frames of such a stretch, 1 or more.
        band_masks: Groups of neighbouring Mel bands that are hidden.
        band_mask_width: Most bands of such a group, 1 or more.
        noise_snr_db: Least ratio of a clip to the noise that is added to it, in dB; None adds
            none. The ratio is drawn up to 30 dB above, the colour of the noise between white and
            brown.
    """

    time_shift_frames: int = 0
    time_masks: int = 0
    time_mask_frames: int = 20
    band_masks: int = 0
    band_mask_width: int = 8
    noise_snr_db: float | None = None

    def __post_init__(self) -> None:
        for name in ("time_shift_frames", "time_masks", "band_masks"):
            _check(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("time_mask_frames", "band_mask_width"):
            _check(getattr(self, name) > 0, name, "at least 1", getattr(self, name))
        ratio = self.noise_snr_db
        _check(ratio is None or isfinite(ratio), "noise_snr_db", "finite", ratio)


@dataclass(frozen=True)
class TrainingConfig:
    """How a downstream network is trained.

    Attributes:
        epochs: Number of epochs, at most.
        batch_size: Clips with a label a step, on all devices together; with `neighbors: batch`
            those without come on top.
        learning_rate: Of Adam, in the first epoch.
        decay: Factor of the learning rate every `decay_epochs` epochs, above 0, at most 1.
        decay_epochs: Epochs between decays.
        schedule: In place of these three: any schedule of Keras, counted in steps, in the JSON of
            `tf.keras.optimizers.schedules.serialize`, e.g. {"class_name": "CosineDecay",
            "config": {"initial_learning_rate": 0.001, "decay_steps": 1000}}.
        patience: Epochs without a better UAR on the validation split after which training stops;
            0 for never.
        epoch_steps: Steps an epoch; 0 for as many as show every clip once.
        label_share: Share of the labels that are used, above 0, at most 1; the other clips of the
            training split count as unlabelled.
        class_weights: `none`, or `balanced`: clips of a class count the more, the fewer they are,
            in the loss of the labels.
        augmentation: How the clips themselves, not their neighbours, are altered.
        alpha: Weight of the graph's part of the loss (NSL only).
        layer: Layer whose outputs of neighbours are made alike, `fc1` or `fc2` in the networks
            of this package (NSL only).
        distance: What is measured there (NSL only): `jensen_shannon`, the divergence of the class
            probabilities, for a layer of logits such as `fc2`; or `cosine`, as in the paper, whose
            gradient fades where logits are large, with an alpha of 0.01 or 0.1.
        neighbors: Where neighbours come from (NSL only): `packed` encodes them with each clip,
            as NSL's own class does; `batch` draws batches from neighbourhoods, `bank` compares
            with what neighbours gave when they were last seen. The latter two encode each clip of
            a batch once, whatever the number of neighbours.
        edges: `all`, or the `agreeing` ones, without those between clips with known, different
            labels; neighbours beyond these take their place if more were packed (NSL only).
        update_statistics: Whether encoded neighbours update the statistics of batch normalisation
            too, as in NSL's own class (NSL with `packed` only).
        precision: `float32`; `mixed_float16` is faster on GPUs of compute capability 7 or more,
            `mixed_bfloat16` on those of 8 or more and on CPUs with AMX. Weights stay float32.
        keep: Which weights are kept: those of the epoch with the `best` UAR on the validation
            split, or those of the `last` epoch.
        seed: Of weights, labels used, order of clips, augmentation and dropout.
    """

    epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay: float = 0.9
    decay_epochs: int = 5
    schedule: str | None = None
    patience: int = 0
    epoch_steps: int = 0
    label_share: float = 1.0
    class_weights: str = "none"
    augmentation: AugmentationConfig = AugmentationConfig()
    alpha: float = 1.0
    layer: str = "fc2"
    distance: Distance = "jensen_shannon"
    neighbors: NeighborSource = "batch"
    edges: str = "all"
    update_statistics: bool = False
    precision: str = "float32"
    keep: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        _check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        _check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _check(0 < self.decay <= 1, "decay", "above 0 and at most 1", self.decay)
        _check(self.decay_epochs > 0, "decay_epochs", "at least 1", self.decay_epochs)
        if self.schedule is not None:
            from ser_nsl.training.schedule import read_schedule  # TensorFlow loads for seconds

            read_schedule(self.schedule)
        _check(self.patience >= 0, "patience", "0 or more", self.patience)
        _check(self.epoch_steps >= 0, "epoch_steps", "0 or more", self.epoch_steps)
        share = self.label_share
        _check(0 < share <= 1, "label_share", "above 0 and at most 1", share)
        weights = ("none", "balanced")
        _check(
            self.class_weights in weights, "class_weights", f"one of {weights}", self.class_weights
        )
        _check(self.alpha >= 0, "alpha", "0 or more", self.alpha)
        distances = get_args(Distance)
        _check(self.distance in distances, "distance", f"one of {distances}", self.distance)
        sources = get_args(NeighborSource)
        _check(self.neighbors in sources, "neighbors", f"one of {sources}", self.neighbors)
        _check(self.edges in ("all", "agreeing"), "edges", "'all' or 'agreeing'", self.edges)
        encoded = self.neighbors == "packed" or not self.update_statistics
        rule = "off unless neighbors is packed, which alone encodes them"
        _check(encoded, "update_statistics", rule, self.update_statistics)
        _check(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
        _check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)


@dataclass(frozen=True)
class UpstreamConfig:
    """How the upstream is fine-tuned.

    Attributes:
        epochs: Number of epochs.
        batch_size: Clips a step.
        accumulate: In how many equal parts, one after another, the gradients of a step are
            computed: memory shrinks accordingly, the gradients stay the same.
        learning_rate: Of Adam.
        schedule: `constant`, or `linear`: the rate rises during the first tenth of all steps,
            then falls to zero.
        label_smoothing: Share of the label that is spread over all classes, 0 up to 1.
        statistics: Weight of a second task, 0 for none: FC1 also tells how a clip sounds on the
            whole, the mean and deviation over time of what the frozen convolutions make of it.
            This keeps it a judge of likeness where labels do not reach.
        clip_seconds: Length to which clips are cut or self-repeated, in seconds.
        augmentations: Altered copies of each training clip (speed, spectral tilt, noise); an epoch
            hears each clip once, as it is or as one of its copies in turn.
        freeze_feature_encoder: Whether the convolutions keep their weights; so for a checkpoint
            that was pre-trained, not for one with random weights.
        keep: Which weights are kept: those of the epoch with the `best` UAR on the validation
            split, or those of the `last` epoch.
        precision: `float32`; `mixed_float16` is faster on GPUs of compute capability 7 or more,
            `mixed_bfloat16` on those of 8 or more and on CPUs with AMX. Weights stay float32.
        seed: Of the new head, order of clips, copies, dropout and masks.
    """

    epochs: int = 20
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 3e-5
    schedule: str = "constant"
    label_smoothing: float = 0.0
    statistics: float = 0.0
    clip_seconds: float = 4.0
    augmentations: int = 0
    freeze_feature_encoder: bool = True
    keep: str = "best"
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        _check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        divides = self.accumulate > 0 and self.batch_size % self.accumulate == 0
        _check(divides, "accumulate", "a divisor of batch_size", self.accumulate)
        _check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        schedules = ("constant", "linear")
        _check(self.schedule in schedules, "schedule", f"one of {schedules}", self.schedule)
        smoothing = self.label_smoothing
        _check(0 <= smoothing < 1, "label_smoothing", "0 up to 1", smoothing)
        tells = self.statistics == 0 or self.statistics > 0 and self.freeze_feature_encoder
        _check(tells, "statistics", "0, or above it with freeze_feature_encoder", self.statistics)
        _check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        _check(self.augmentations >= 0, "augmentations", "0 or more", self.augmentations)
        _check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)
        _check(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)


@dataclass(frozen=True)
class PretrainingConfig:
    """How an upstream learns from speech without labels.

    Attributes:
        convolution_epochs: Epochs in which the convolutions learn to tell log Mel frames; 0
            leaves them as they are, as befits a checkpoint that has learned before.
        convolution_learning_rate: Of Adam there, at its highest.
        epochs: Epochs in which the transformer learns to guess what is masked.
        learning_rate: Of Adam there, at its highest: it rises and falls again.
        batch_size: Windows a step.
        clip_seconds: Length of a window, in seconds; clips are cut into as few as cover them.
        clusters: Number of clusters of log Mel frames.
        mask_share: Length of all masks over that of the clip, 0 to 1; masks may overlap.
        mask_frames: Length of a mask, in frames of 20 ms.
        seed: Of heads, clusters, order of clips, dropout and masks.
    """

    convolution_epochs: int = 0
    convolution_learning_rate: float = 4e-3
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 32
    clip_seconds: float = 3.0
    clusters: int = 256
    mask_share: float = 0.6
    mask_frames: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("convolution_epochs", "epochs"):
            _check(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("convolution_learning_rate", "learning_rate"):
            _check(getattr(self, name) > 0, name, "positive", getattr(self, name))
        _check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        _check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        clusters = 2 <= self.clusters <= 32_767
        _check(clusters, "clusters", "2 to 32,767", self.clusters)
        _check(0 < self.mask_share < 1, "mask_share", "between 0 and 1", self.mask_share)
        _check(self.mask_frames > 0, "mask_frames", "at least 1", self.mask_frames)


@dataclass(frozen=True)
class SyntheticConfig:
    """A synthetic corpus, made on the spot.

    Attributes:
        speakers: Number of speakers, half of them female.
        clips_per_emotion: Clips of each emotion a speaker.
        seed: Of speakers and clips.
    """

    speakers: int = 12
    clips_per_emotion: int = 4
    seed: int = 0


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus of an experiment.

    Attributes:
        corpus: `ravdess`, `demos`, `emovo`, `emodb`, `folder` or `csv`.
        audio_dir: Folder of its clips; not needed where `synthetic` is given.
        table: List of clips, for `csv`.
        leave_out: Emotions to leave out.
        skip_bad: Leave bad clips out instead of stopping.
        split: How speakers are divided.
        synthetic: Makes the clips on the spot, in the layout of `corpus` (ravdess or demos).
    """

    corpus: str
    audio_dir: Path | None = None
    table: Path | None = None
    leave_out: tuple[str, ...] = ()
    skip_bad: bool = False
    split: SplitConfig = SplitConfig()
    synthetic: SyntheticConfig | None = None

    def __post_init__(self) -> None:
        _check(
            (self.audio_dir is None) != (self.synthetic is None),
            "audio_dir",
            "given, or synthetic in its place",
            self.audio_dir,
        )


@dataclass(frozen=True)
class SmallUpstreamConfig:
    """A small wav2vec 2.0 with random weights.

    Attributes:
        hidden_size: Width of the transformer.
        layers: Number of transformer layers.
        channels: Channels of the convolutions.
        seed: Of the weights.
    """

    hidden_size: int = 128
    layers: int = 2
    channels: int = 64
    seed: int = 0


@dataclass(frozen=True)
class GraphConfig:
    """How the graph is built and used.

    Attributes:
        similarity_threshold: Least cosine similarity of an edge, -1 to 1; `auto` chooses it so
            that a clip has `target_degree` neighbours on average.
        lsh_splits: Hyperplanes of a hashing, for the official builder; 0 compares all pairs.
        lsh_rounds: Number of hashings, for the official builder.
        seed: Of all that is drawn.
        max_neighbors: Most neighbours of a clip in training.
        builder: `official`, `exact`, `approximate`, or `auto`: official up to 2,000 clips, exact
            above.
        target_degree: Mean number of neighbours, for the threshold `auto` only.
        edges: Which edges the file keeps: `all`, or the `nearest`, those only that training uses.
        packing: `official` or `indexed` training records, or `auto`: official up to 2,000 clips
            that all have labels, else indexed.
        likeness: Who says what is alike: the `upstream`; the `mfcc`s; both, `fused`; or a linear
            `probe` that reads emotions from both with the labels that training knows.
        across_speakers: Whether edges within a speaker are dropped.
    """

    similarity_threshold: float | int | str = 0.99  # the reader of YAML keeps 1 and 1.0 apart
    lsh_splits: int = 2
    lsh_rounds: int = 4
    seed: int = 12345
    max_neighbors: int = 3
    builder: str = "auto"
    target_degree: float | None = None
    edges: str = "all"
    packing: str = "auto"
    likeness: str = "upstream"
    across_speakers: bool = False

    def __post_init__(self) -> None:
        kinds = ("upstream", "mfcc", "fused", "probe")
        _check(self.likeness in kinds, "likeness", f"one of {kinds}", self.likeness)
        nearest_across = self.across_speakers and self.edges == "nearest"
        _check(not nearest_across, "edges", "'all' with across_speakers", self.edges)
        threshold, degree = self.similarity_threshold, self.target_degree
        is_cosine = not isinstance(threshold, str) and -1 <= threshold <= 1
        _check(
            is_cosine or threshold == "auto",
            "similarity_threshold",
            "a cosine, -1 to 1, or auto",
            threshold,
        )
        rule = "more than 0 where similarity_threshold is auto, else absent"
        _check(degree is None if is_cosine else (degree or 0) > 0, "target_degree", rule, degree)
        builders = get_args(Builder)
        _check(self.builder in builders, "builder", f"one of {builders}", self.builder)
        _check(self.edges in ("all", "nearest"), "edges", "'all' or 'nearest'", self.edges)
        packings = ("auto", "official", "indexed")
        _check(self.packing in packings, "packing", f"one of {packings}", self.packing)
        _check(self.lsh_splits >= 0, "lsh_splits", "0 or more", self.lsh_splits)
        _check(self.lsh_rounds > 0, "lsh_rounds", "at least 1", self.lsh_rounds)
        _check(self.max_neighbors > 0, "max_neighbors", "at least 1", self.max_neighbors)

    @property
    def building(self) -> dict[str, Any]:
        """The settings that `build_graph` takes."""
        names = ("similarity_threshold", "target_degree", "builder", "lsh_splits", "lsh_rounds")
        kept = self.max_neighbors if self.edges == "nearest" else None
        return {name: getattr(self, name) for name in (*names, "seed")} | {"max_neighbors": kept}


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
    finetuning: UpstreamConfig | None = UpstreamConfig()
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
        _check(
            self.finetuning is None or self.source is not None,
            "source",
            "given where there is finetuning",
            self.source,
        )
        _check(
            self.finetuning is not None or self.upstream is not None,
            "upstream",
            "given where there is no finetuning",
            self.upstream,
        )
        centers = (None, "speaker", "corpus")
        _check(self.center in centers, "center", f"one of {centers}", self.center)
        if self.clip_seconds is not None:
            samples = round(self.clip_seconds * self.front_end.sample_rate_hz)
            window = self.front_end.window_samples
            _check(samples >= window, "clip_seconds", "one window or more", self.clip_seconds)
        known = set(get_args(Method))
        _check(set(self.methods) <= known, "methods", f"some of {sorted(known)}", self.methods)
        _check(
            self.finetuning is not None or self.adaptation is None,
            "finetuning",
            "given where there is adaptation, which the emotion head has to follow",
            self.finetuning,
        )
        drawn = self.graph.likeness == "probe" and self.training.label_share < 1
        rule = "one where a probe knows a share of the labels, which the seed draws"
        _check(not drawn or len(self.seeds) == 1, "seeds", rule, self.seeds)
        for name in ("networks", "methods", "seeds"):
            values = getattr(self, name)
            _check(len(set(values)) == len(values) > 0, name, "one or more, all different", values)

    @property
    def reads_source(self) -> bool:
        """Whether the upstream learns anything from the source in a run."""
        return self.source is not None and (self.adaptation or self.finetuning) is not None


def load_experiment(
    config: str, overrides: Sequence[str] = (), *, upstream: str | None = None
) -> Experiment:
    """Reads an experiment.

    Args:
        config: Name of a file in `ser_nsl/configs`, without suffix, or path of a YAML file.
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
    return read_settings(Experiment, config, folder="configs", overrides=overrides, changes=another)
