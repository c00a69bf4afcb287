"""The settings of making, pre-training and fine-tuning an upstream."""

from dataclasses import dataclass

from ser_nsl.pipeline.settings import MOST, PRECISIONS, check


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
            check(1 <= getattr(self, name) <= MOST, name, f"1 to {MOST}", getattr(self, name))
        divides = self.accumulate > 0 and self.batch_size % self.accumulate == 0
        check(divides, "accumulate", "a divisor of batch_size", self.accumulate)
        rate = self.learning_rate
        check(0 < rate <= MOST, "learning_rate", f"positive and at most {MOST}", rate)
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
