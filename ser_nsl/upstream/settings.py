"""The settings of making, pre-training and fine-tuning an upstream."""

from dataclasses import dataclass

from ser_nsl.pipeline.settings import PRECISIONS, check


@dataclass(frozen=True)
class SmallUpstreamConfig:
    """Sizes of a small wav2vec 2.0 with random weights.

    Attributes:
        hidden_size: Width of the transformer, a multiple of 4.
        layers: Number of transformer layers.
        channels: Channels of the convolutions.
        seed: Seed of the weights.

    Example:
        >>> SmallUpstreamConfig(layers=4)
        SmallUpstreamConfig(hidden_size=128, layers=4, channels=64, seed=0)
    """

    hidden_size: int = 128
    layers: int = 2
    channels: int = 64
    seed: int = 0


@dataclass(frozen=True)
class PretrainingConfig:
    """How an upstream is trained on speech without labels.

    Attributes:
        convolution_epochs: Epochs in which the convolutions learn to predict log Mel frames; 0
            leaves them as they are, which suits a checkpoint that was pre-trained before.
        convolution_learning_rate: Highest learning rate of Adam in these epochs.
        epochs: Epochs in which the transformer learns to predict masked frames.
        learning_rate: Highest learning rate of Adam in these epochs: it rises and falls again.
        batch_size: Windows per step.
        clip_seconds: Length of a window, in seconds; clips are cut into the fewest windows that
            cover them.
        clusters: Number of clusters of log Mel frames.
        mask_share: Total length of the masks over that of the clip, 0 to 1; masks may overlap.
        mask_frames: Length of a mask, in frames of 20 ms.
        seed: Seed of heads, clusters, order of clips, dropout and masks.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> PretrainingConfig(mask_share=1.5)
        Traceback (most recent call last):
        ...
        ValueError: mask_share must be between 0 and 1; received 1.5
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
        for name in ("batch_size", "mask_frames"):
            check(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        check(2 <= self.clusters <= 32_767, "clusters", "2 to 32,767", self.clusters)
        check(0 < self.mask_share < 1, "mask_share", "between 0 and 1", self.mask_share)


@dataclass(frozen=True)
class FineTuningConfig:
    """How an upstream is fine-tuned on emotions.

    Attributes:
        epochs: Number of epochs.
        batch_size: Clips per step.
        accumulate: Number of equal parts of a batch whose gradients are computed one after
            another: memory shrinks accordingly, the gradients stay the same.
        learning_rate: Learning rate of Adam.
        schedule: `constant`, or `linear`: the rate rises during the first tenth of all steps,
            then falls to zero.
        label_smoothing: Share of the label that is spread over all classes, 0 up to 1.
        statistics: Weight of a second loss, 0 for none: FC1 also predicts the mean and deviation
            over time of the outputs of the frozen convolutions. This keeps its embeddings useful
            for similarity beyond the labels.
        clip_seconds: Length to which clips are cut or repeated, in seconds.
        augmentations: Altered copies of each training clip (speed, spectral tilt, noise). An epoch
            uses each clip once, either the original or one of its copies, in turn.
        freeze_feature_encoder: Keep the weights of the convolutions; for a checkpoint that was
            pre-trained, not for one with random weights.
        keep: Epoch whose weights are kept: the `best` by UAR on the validation split, or the
            `last`.
        precision: `float32`; `mixed_float16` is faster on GPUs of compute capability 7 or more,
            `mixed_bfloat16` on those of 8 or more and on CPUs with AMX. Weights stay float32.
        seed: Seed of the new head, order of clips, copies, dropout and masks.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> FineTuningConfig(batch_size=16, accumulate=3)
        Traceback (most recent call last):
        ...
        ValueError: accumulate must be a divisor of batch_size; received 3
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
        for name in ("epochs", "batch_size"):
            check(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        divides = self.accumulate > 0 and self.batch_size % self.accumulate == 0
        check(divides, "accumulate", "a divisor of batch_size", self.accumulate)
        check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        for name, choices in (
            ("schedule", ("constant", "linear")),
            ("keep", ("best", "last")),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            check(value in choices, name, f"one of {choices}", value)
        check(0 <= self.label_smoothing < 1, "label_smoothing", "0 up to 1", self.label_smoothing)
        possible = self.statistics == 0 or self.statistics > 0 and self.freeze_feature_encoder
        check(possible, "statistics", "0, or above with freeze_feature_encoder", self.statistics)
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        check(self.augmentations >= 0, "augmentations", "0 or more", self.augmentations)
