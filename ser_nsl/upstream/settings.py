"""The settings of fine-tuning an upstream, training a head, and teaching a student."""

from dataclasses import dataclass
from typing import get_args

from ser_nsl.audio.damage import DamageConfig
from ser_nsl.pipeline.settings import MOST, PRECISIONS, check
from ser_nsl.upstream.encoder import Pooling


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
        clip_seconds: Length to which clips are cut or repeated, in seconds.
        freeze_feature_encoder: Keep the weights of the convolutions; for a checkpoint that was
            pre-trained, not for one with random weights.
        keep: Epoch whose weights are kept: the `best` by UAR on the validation split, or the
            `last`.
        precision: `float32`; `mixed_float16` is faster on GPUs of compute capability 7 or more,
            `mixed_bfloat16` on those of 8 or more and on CPUs with AMX. Weights stay float32.
        seed: Seed of the new head, order of clips, dropout and masks.

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
    clip_seconds: float = 4.0
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
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)


@dataclass(frozen=True)
class HeadConfig:
    """How an emotion head is trained on a frozen encoder.

    Attributes:
        layers: Layers of the encoder whose pooled frames FC1 reads; by default those that a linear
            classifier finds best on the validation speakers.
        pooling: Of frames over time: `statistics`, mean and deviation, or `mean` as in
            arXiv 2210.14977.
        clip_seconds: Length to which clips are cut or repeated, in seconds.
        epochs: Number of epochs; the one with the best UAR on the validation split is kept, the
            last of equal ones.
        batch_size: Clips per step.
        learning_rate: Learning rate of Adam.
        dropout: Share of FC1's outputs that a step leaves out, 0 up to 1.
        seed: Seed of weights, order of clips and dropout.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> HeadConfig(layers=(2, 3)).pooling
        'statistics'
    """

    layers: tuple[int, ...] = ()
    pooling: Pooling = "statistics"
    clip_seconds: float = 4.0
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 3e-4
    dropout: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        choices = get_args(Pooling)
        check(self.pooling in choices, "pooling", f"one of {choices}", self.pooling)
        check(self.clip_seconds >= 0.1, "clip_seconds", "at least 0.1", self.clip_seconds)
        for name in ("epochs", "batch_size"):
            check(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        check(0 <= self.dropout < 1, "dropout", "0 up to 1", self.dropout)


@dataclass(frozen=True)
class StudentConfig:
    """The size of a small wav2vec 2.0 that learns from a large encoder.

    Attributes:
        width: Width of the transformer, a multiple of 4, the number of attention heads.
        layers: Number of transformer layers.
        channels: Channels of the convolutions.
        kernels: Samples, then frames, that each convolution covers. A first one of 25 ms tells
            pitches apart as a log Mel front end does.
        strides: Step of each convolution; their product is the samples between two frames, 320
            for 50 frames/s.
        norm: `layer`, each frame over its channels, or `group`, each channel of the first
            convolution over time.

    Raises:
        ValueError: If a size is out of its range.

    Example:
        >>> StudentConfig(width=130)
        Traceback (most recent call last):
        ...
        ValueError: width must be a positive multiple of 4; received 130
    """

    width: int = 256
    layers: int = 4
    channels: int = 256
    kernels: tuple[int, ...] = (400, 3, 3)
    strides: tuple[int, ...] = (80, 2, 2)
    norm: str = "layer"

    def __post_init__(self) -> None:
        check(
            self.width > 0 and self.width % 4 == 0, "width", "a positive multiple of 4", self.width
        )
        for name in ("layers", "channels"):
            check(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        as_many = (
            0 < len(self.kernels) == len(self.strides) and min(*self.kernels, *self.strides) > 0
        )
        check(as_many, "kernels", "positive, as many as strides", self.kernels)
        check(self.norm in ("layer", "group"), "norm", "one of ('layer', 'group')", self.norm)


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """How a network learns from a large encoder, on windows of unlabelled speech that both hear.

    Attributes:
        epochs: Number of epochs; each takes one window of every clip.
        learning_rate: Highest learning rate of Adam: it rises over the first tenth of all steps,
            then falls along a cosine.
        batch_size: Windows per step.
        window_seconds: Length of a window, in seconds.
        windows: Windows of each clip, at different places and speeds, of which each epoch takes
            one. The teacher hears each once.
        speeds: Slowest and fastest speed at which both hear a window; another speed is another
            pitch too.
        damages: Shares of windows that the student alone hears with damages. None may shift what
            is said, or the two would hear different things at one time.
        seed: Seed of weights, windows and damages.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> LessonConfig(windows=0)
        Traceback (most recent call last):
        ValueError: windows must be at least 1; received 0
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 16
    window_seconds: float = 3.0
    windows: int = 3
    speeds: tuple[float, float] = (0.8, 1.25)
    damages: DamageConfig = DamageConfig(speed=0.0, silence=0.0)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "windows"):
            check(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        check(self.window_seconds >= 0.5, "window_seconds", "at least 0.5", self.window_seconds)
        slowest, fastest = self.speeds
        check(0.25 <= slowest <= fastest <= 4, "speeds", "rising, 0.25 to 4", self.speeds)
        for name in ("speed", "silence"):
            share = getattr(self.damages, name)
            check(share == 0, f"damages.{name}", "0, since it shifts what is said", share)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(LessonConfig):
    """How a small wav2vec 2.0 learns to predict the frames of a large encoder.

    What the teacher hears is kept on disk if that takes no more than half of the free space: for
    three layers of Whisper base half a gigabyte a window of 1,000 clips.

    Attributes:
        layers: Layers of the teacher, each predicted by a linear layer of its own.
        student: Size of a new student.
        statistics: Weight of a second loss: mean and deviation over time of the student's frames
            also predict those of the teacher's.
        bfloat16: Whether to multiply in 16 bits, with weights of 32: a fifth faster on two
            cores with AVX-512 BF16, slower on processors that cannot.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> DistillationConfig(layers=(1, 2)).epochs
        20
    """

    layers: tuple[int, ...] = (1, 2, 3)
    student: StudentConfig = StudentConfig()
    statistics: float = 1.0
    damages: DamageConfig = DamageConfig(
        speed=0.0, room=0.0, silence=0.0, babble=0.0, noise=0.4, band=0.4, gain=0.0, codec=0.2
    )
    bfloat16: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.statistics >= 0, "statistics", "0 or more", self.statistics)
