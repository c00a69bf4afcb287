"""What an experiment is: frozen dataclasses, checked when made, read from one YAML file.

The files in `ser_nsl/configs` are experiments; `load_experiment` finds them by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ser_nsl.errors import InputError


def _check(holds: bool, name: str, rule: str, value: object) -> None:
    """Refuses a setting in one form of words."""
    if not holds:
        raise ValueError(f"{name} must be {rule}; received {value!r}")


_SPLIT_METHODS = (
    "speaker-independent",
    "leave-one-speaker-out",
    "paper",
    "count-equivalent",
    "lists",
    "given",
    "clips",
)


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided into train, val and test.

    Attributes:
        method: `speaker-independent` (seeded, each gender alike), `leave-one-speaker-out`,
            `paper` (RAVDESS, the paper's own), `count-equivalent` (DEMoS, lists that reproduce
            the paper's counts), `lists` (a JSON file of speakers), `given` (a column of the
            CSV table), or `clips` (for corpora without known speakers).
        seed: For `speaker-independent` and `clips`.
        test_share: Share of the speakers (of each gender) that test, 0 to 1.
        val_share: Share of the remaining speakers that validate, 0 to 1.
        fold: For `leave-one-speaker-out`: which speaker tests, from 0, in alphabetical order.
        alternative: For `count-equivalent`: which list, 0 (default) to 10.
        lists: For `lists`: file of the form {"train": [...], "val": [...], "test": [...]}.
    """

    method: str = "speaker-independent"
    seed: int = 0
    test_share: float = 0.25
    val_share: float = 0.25
    fold: int = 0
    alternative: int = 0
    lists: Path | None = None

    def __post_init__(self) -> None:
        _check(self.method in _SPLIT_METHODS, "method", f"one of {_SPLIT_METHODS}", self.method)
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
class TrainingConfig:
    """How a downstream network is trained.

    Attributes:
        epochs: Number of epochs.
        batch_size: Clips a step.
        learning_rate: Of Adam, in the first epoch.
        decay: Factor of the learning rate every `decay_epochs` epochs, above 0, at most 1.
        decay_epochs: Epochs between decays.
        alpha: Weight of the graph's part of the loss (NSL only).
        layer: Layer whose outputs of neighbours are made alike, `fc1` or `fc2` in the networks
            of this package (NSL only).
        keep: Which weights are kept: those of the epoch with the `best` UAR on the validation
            split, or those of the `last` epoch.
        seed: Of weights, order of clips and dropout.
    """

    epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay: float = 0.9
    decay_epochs: int = 5
    alpha: float = 0.1
    layer: str = "fc2"
    keep: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        _check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        _check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _check(0 < self.decay <= 1, "decay", "above 0 and at most 1", self.decay)
        _check(self.decay_epochs > 0, "decay_epochs", "at least 1", self.decay_epochs)
        _check(self.alpha >= 0, "alpha", "0 or more", self.alpha)
        _check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)


@dataclass(frozen=True)
class UpstreamConfig:
    """How the upstream is fine-tuned.

    Attributes:
        epochs: Number of epochs.
        batch_size: Clips a step.
        learning_rate: Of Adam.
        clip_seconds: Length to which clips are cut or self-repeated, in seconds.
        freeze_feature_encoder: Whether the convolutions keep their weights; so for a checkpoint
            that was pre-trained, not for one with random weights.
        keep: Which weights are kept: those of the epoch with the `best` UAR on the validation
            split, or those of the `last` epoch.
        seed: Of the new head, order of clips, dropout and masks.
    """

    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 3e-5
    clip_seconds: float = 4.0
    freeze_feature_encoder: bool = True
    keep: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        _check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        _check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        _check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)


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
        similarity_threshold: Least cosine similarity of an edge, -1 to 1.
        lsh_splits: Hyperplanes of a hashing; 0 compares all pairs.
        lsh_rounds: Number of hashings.
        seed: Of the hyperplanes.
        max_neighbors: Most neighbours of a clip in training.
    """

    similarity_threshold: float = 0.99
    lsh_splits: int = 2
    lsh_rounds: int = 4
    seed: int = 12345
    max_neighbors: int = 3

    def __post_init__(self) -> None:
        threshold = self.similarity_threshold
        _check(-1 <= threshold <= 1, "similarity_threshold", "a cosine, -1 to 1", threshold)
        _check(self.lsh_splits >= 0, "lsh_splits", "0 or more", self.lsh_splits)
        _check(self.lsh_rounds > 0, "lsh_rounds", "at least 1", self.lsh_rounds)
        _check(self.max_neighbors > 0, "max_neighbors", "at least 1", self.max_neighbors)


@dataclass(frozen=True)
class Experiment:
    """Everything that a run of the whole chain depends on.

    Attributes:
        name: Short name, which is also that of the run's folder.
        title: One line for the report.
        source: The corpus that teaches the upstream.
        target: The corpus that the recogniser is for.
        upstream: Hub name or folder of a wav2vec 2.0 checkpoint; None makes a small one with
            random weights.
        small_upstream: Its size, where `upstream` is None.
        finetuning: How the upstream learns the source.
        clip_seconds: Length of the target's clips; None for that of the longest.
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
    source: CorpusConfig
    target: CorpusConfig
    upstream: str | None = None
    small_upstream: SmallUpstreamConfig = SmallUpstreamConfig()
    finetuning: UpstreamConfig = UpstreamConfig()
    clip_seconds: float | None = None
    front_end: FrontEndConfig = FrontEndConfig()
    graph: GraphConfig = GraphConfig()
    networks: tuple[str, ...] = ("resnet9",)
    methods: tuple[str, ...] = ("base", "nsl")
    seeds: tuple[int, ...] = (0,)
    training: TrainingConfig = TrainingConfig()
    caution: str = ""

    def __post_init__(self) -> None:
        if self.clip_seconds is not None:
            samples = round(self.clip_seconds * self.front_end.sample_rate_hz)
            window = self.front_end.window_samples
            _check(samples >= window, "clip_seconds", "one window or more", self.clip_seconds)
        known = {"base", "nsl", "add", "max", "avg"}
        _check(set(self.methods) <= known, "methods", f"some of {sorted(known)}", self.methods)
        for name in ("networks", "methods", "seeds"):
            values = getattr(self, name)
            _check(len(set(values)) == len(values) > 0, name, "one or more, all different", values)


def load_experiment(config: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads an experiment.

    Args:
        config: Name of a file in `ser_nsl/configs`, without suffix, or path of a YAML file.
        overrides: Settings to change, as `training.epochs=5` or `seeds=[0,1]`.

    Returns:
        The experiment, checked.

    Raises:
        InputError: If there is no such file, a key is unknown, or a value breaks its rule.
    """
    path = Path(config)
    own = Path(str(resources.files("ser_nsl") / "configs"))
    if path.suffix not in (".yaml", ".yml"):
        path = own / f"{config}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in own.glob("*.yaml"))
        raise InputError(
            f"config: {config!r} is neither a YAML file nor one of {', '.join(known)}."
        )
    try:
        return OmegaConf.to_object(
            OmegaConf.merge(
                OmegaConf.structured(Experiment),
                OmegaConf.load(path),
                OmegaConf.from_dotlist(list(overrides)),
            )
        )
    except (OmegaConfBaseException, YAMLError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path.name}: {reason}") from error


def save_experiment(experiment: Experiment, path: Path) -> None:
    """Writes an experiment, every default spelt out, as a file that `load_experiment` reads."""
    OmegaConf.save(OmegaConf.structured(experiment), path)
