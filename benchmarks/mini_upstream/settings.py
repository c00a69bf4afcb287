"""Settings of pre-training."""

from dataclasses import dataclass

from ser_nsl.pipeline.settings import check


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
