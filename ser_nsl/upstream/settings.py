"""What sets the making, pre-training and fine-tuning of an upstream."""

from dataclasses import dataclass

from ser_nsl.pipeline.settings import PRECISIONS, check

__all__ = ["PretrainingConfig", "SmallUpstreamConfig", "FineTuningConfig"]


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
            check(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("convolution_learning_rate", "learning_rate"):
            check(getattr(self, name) > 0, name, "positive", getattr(self, name))
        check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        clusters = 2 <= self.clusters <= 32_767
        check(clusters, "clusters", "2 to 32,767", self.clusters)
        check(0 < self.mask_share < 1, "mask_share", "between 0 and 1", self.mask_share)
        check(self.mask_frames > 0, "mask_frames", "at least 1", self.mask_frames)


@dataclass(frozen=True)
class FineTuningConfig:
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
        check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        divides = self.accumulate > 0 and self.batch_size % self.accumulate == 0
        check(divides, "accumulate", "a divisor of batch_size", self.accumulate)
        check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        schedules = ("constant", "linear")
        check(self.schedule in schedules, "schedule", f"one of {schedules}", self.schedule)
        smoothing = self.label_smoothing
        check(0 <= smoothing < 1, "label_smoothing", "0 up to 1", smoothing)
        tells = self.statistics == 0 or self.statistics > 0 and self.freeze_feature_encoder
        check(tells, "statistics", "0, or above it with freeze_feature_encoder", self.statistics)
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        check(self.augmentations >= 0, "augmentations", "0 or more", self.augmentations)
        check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)
        check(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
