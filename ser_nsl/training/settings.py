"""Settings of the training of a light network."""

import json
from dataclasses import dataclass
from typing import Literal, get_args

from ser_nsl.pipeline.settings import MOST, PRECISIONS, check
from ser_nsl.upstream.settings import LessonConfig

__all__ = [
    "TAUGHT",
    "TRANSFERS",
    "AugmentationConfig",
    "Distance",
    "Lessons",
    "Method",
    "NeighborSource",
    "TeachingConfig",
    "TrainingConfig",
]

Method = Literal["base", "nsl", "embedding", "similarity", "probabilities", "add", "max", "avg"]
"""Ways to train a light network."""

TAUGHT: tuple[Method, ...] = ("embedding", "similarity", "probabilities")
"""Ways in which the upstream's vectors are needed in training only."""

TRANSFERS: tuple[Method, ...] = ("add", "max", "avg")
"""Ways in which the upstream's embedding is an input of the network for good."""

NeighborSource = Literal["packed", "batch", "bank"]
"""Sources of neighbours in training."""

Lessons = Literal["frames", "similarity"]
"""What a light network can learn of a large encoder on speech without labels."""

Distance = Literal["cosine", "jensen_shannon"]
"""Distances that the graph's part of the loss can measure."""


@dataclass(frozen=True)
class AugmentationConfig:
    """How clips are altered in training, differently in every epoch. By default they are not.

    Masks are those of SpecAugment (arXiv 1904.08779).

    Attributes:
        time_shift_frames: Largest number of frames by which a clip is rolled to either side.
        time_masks: Number of stretches of a clip that are masked.
        time_mask_frames: Largest length of such a stretch in frames, 1 or more.
        band_masks: Number of groups of adjacent Mel bands that are masked.
        band_mask_width: Largest number of bands in such a group, 1 or more.

    Example:
        >>> AugmentationConfig(time_masks=2, time_mask_frames=10).time_masks
        2
    """

    time_shift_frames: int = 0
    time_masks: int = 0
    time_mask_frames: int = 20
    band_masks: int = 0
    band_mask_width: int = 8

    def __post_init__(self) -> None:
        for name in ("time_shift_frames", "time_masks", "band_masks"):
            check(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("time_mask_frames", "band_mask_width"):
            check(getattr(self, name) > 0, name, "at least 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class TeachingConfig(LessonConfig):
    """How a light network is taught by a large encoder, on speech without labels.

    Attributes:
        layers: Layers of the teacher.
        augmentation: How log Mel is altered besides, in every step. Nothing may shift it in time.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> TeachingConfig(augmentation=AugmentationConfig(time_shift_frames=3))
        Traceback (most recent call last):
        ValueError: augmentation.time_shift_frames must be 0, ...; received 3
    """

    layers: tuple[int, ...] = (2, 3)
    epochs: int = 60
    batch_size: int = 32
    augmentation: AugmentationConfig = AugmentationConfig(
        time_masks=1, time_mask_frames=15, band_masks=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        shift = self.augmentation.time_shift_frames
        rule = "0, since the teacher hears no shift"
        check(shift == 0, "augmentation.time_shift_frames", rule, shift)


@dataclass(frozen=True)
class TrainingConfig:
    """How a light network is trained.

    Attributes:
        epochs: Largest number of epochs.
        batch_size: Labelled clips per step, on all devices together; with `neighbors: batch`
            unlabelled clips come on top.
        learning_rate: Learning rate of Adam in the first epoch.
        decay: Factor of the learning rate every `decay_epochs` epochs, above 0, at most 1.
        decay_epochs: Epochs between decays.
        schedule: Any Keras schedule in place of these three, counted in steps, in the JSON of
            tf.keras.optimizers.schedules.serialize, such as {"class_name": "CosineDecay", "config":
            {"initial_learning_rate": 0.001, "decay_steps": 1000}}.
        head_epochs: Epochs at the beginning in which fc1 and fc2 learn alone, if the network has
            learned before (`start`): all layers at once would lose some of that (arXiv 2202.10054).
            The learning rate begins to fall after them.
        patience: Epochs without a better UAR on the validation split after which training
            stops; 0 for never.
        epoch_steps: Steps per epoch; 0 for one pass over the clips.
        label_share: Share of the labels that are used, above 0, at most 1; the other clips of the
            training split count as unlabelled.
        class_weights: `none`, or `balanced`: in the loss of the labels, clips weigh more the fewer
            clips their class has.
        augmentation: How the clips themselves, not their neighbours, are altered.
        copies: Whether damaged copies take the place of clips, where the features have some.
        alpha: Weight of the graph's part of the loss, or of what the upstream's vectors add to it.
        layer: Layer whose outputs are made similar for neighbours, `fc1` or `fc2` in the networks
            of this package (NSL only).
        distance: Distance between outputs of that layer (NSL only): `jensen_shannon`, the
            divergence of the class probabilities, for a layer of logits such as `fc2`; or `cosine`,
            as in the paper, with an alpha of 0.01 or 0.1; its gradient fades where logits are
            large.
        neighbors: Where neighbours come from (NSL only): `packed` encodes them with each clip,
            as NSL's own class does; `batch` draws batches from neighbourhoods; `bank` compares
            with the outputs that neighbours had when they were last encoded. The latter two encode
            each clip of a batch once, whatever the number of neighbours.
        edges: `all`, or only `agreeing` ones, without those between clips with known, different
            labels; the next neighbours take their place if more were packed (NSL only).
        precision: `float32`; `mixed_float16` is faster on GPUs of compute capability 7 or more, and
            `mixed_bfloat16` on those of 8 or more and on CPUs with AMX. Weights stay float32.
        keep: Which weights are kept: those of the epoch with the `best` UAR on the validation
            split, or those of the `last` epoch.
        seed: Seed of weights, labels used, order of clips, augmentation and dropout.

    Example:
        >>> training = TrainingConfig(epochs=20, label_share=0.5)
        >>> training.distance, training.layer
        ('jensen_shannon', 'fc2')
        >>> TrainingConfig(label_share=2)
        Traceback (most recent call last):
        ValueError: label_share must be above 0 and at most 1; received 2
    """

    epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay: float = 0.9
    decay_epochs: int = 5
    schedule: str | None = None
    head_epochs: int = 8
    patience: int = 0
    epoch_steps: int = 0
    label_share: float = 1.0
    class_weights: str = "none"
    augmentation: AugmentationConfig = AugmentationConfig()
    copies: bool = True
    alpha: float = 1.0
    layer: str = "fc2"
    distance: Distance = "jensen_shannon"
    neighbors: NeighborSource = "batch"
    edges: str = "all"
    precision: str = "float32"
    keep: str = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "decay_epochs"):
            check(0 < getattr(self, name) <= MOST, name, f"1 to {MOST}", getattr(self, name))
        for name in ("head_epochs", "patience", "epoch_steps", "alpha"):
            check(0 <= getattr(self, name) <= MOST, name, f"0 to {MOST}", getattr(self, name))
        for name in ("decay", "label_share"):
            share = getattr(self, name)
            check(0 < share <= 1, name, "above 0 and at most 1", share)
        rate = self.learning_rate
        check(0 < rate <= MOST, "learning_rate", f"positive and at most {MOST}", rate)
        rule = 'JSON of a Keras schedule, {"class_name": ..., "config": {...}}'
        fits = self.schedule is None or _looks_like_schedule(self.schedule)
        check(fits, "schedule", rule, self.schedule)
        for name, choices in (
            ("class_weights", ("none", "balanced")),
            ("distance", get_args(Distance)),
            ("neighbors", get_args(NeighborSource)),
            ("edges", ("all", "agreeing")),
            ("precision", PRECISIONS),
            ("keep", ("best", "last")),
        ):
            value = getattr(self, name)
            check(value in choices, name, f"one of {choices}", value)


def _looks_like_schedule(text: str) -> bool:
    """Checks the form only, without Keras; training checks the rest before it starts."""
    try:
        form = json.loads(text)
    except ValueError:
        return False
    return isinstance(form, dict) and {"class_name", "config"} <= form.keys()
