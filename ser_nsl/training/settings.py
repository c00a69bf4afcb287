"""What sets the training of a light network."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from ser_nsl.pipeline.settings import PRECISIONS, check

__all__ = ["AugmentationConfig", "Distance", "Method", "NeighborSource", "TrainingConfig"]

Method = Literal["base", "nsl", "add", "max", "avg"]
"""Ways to train a light network."""

NeighborSource = Literal["packed", "batch", "bank"]
"""Where neighbours come from in training."""

Distance = Literal["cosine", "jensen_shannon"]
"""What the graph's part of the loss measures."""


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
            check(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("time_mask_frames", "band_mask_width"):
            check(getattr(self, name) > 0, name, "at least 1", getattr(self, name))
        ratio = self.noise_snr_db
        check(ratio is None or isfinite(ratio), "noise_snr_db", "finite", ratio)


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
        check(self.epochs > 0, "epochs", "at least 1", self.epochs)
        check(self.batch_size > 0, "batch_size", "at least 1", self.batch_size)
        check(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        check(0 < self.decay <= 1, "decay", "above 0 and at most 1", self.decay)
        check(self.decay_epochs > 0, "decay_epochs", "at least 1", self.decay_epochs)
        if self.schedule is not None:
            from ser_nsl.training.schedule import read_schedule  # TensorFlow loads for seconds

            read_schedule(self.schedule)
        check(self.patience >= 0, "patience", "0 or more", self.patience)
        check(self.epoch_steps >= 0, "epoch_steps", "0 or more", self.epoch_steps)
        share = self.label_share
        check(0 < share <= 1, "label_share", "above 0 and at most 1", share)
        weights = ("none", "balanced")
        check(
            self.class_weights in weights, "class_weights", f"one of {weights}", self.class_weights
        )
        check(self.alpha >= 0, "alpha", "0 or more", self.alpha)
        distances = get_args(Distance)
        check(self.distance in distances, "distance", f"one of {distances}", self.distance)
        sources = get_args(NeighborSource)
        check(self.neighbors in sources, "neighbors", f"one of {sources}", self.neighbors)
        check(self.edges in ("all", "agreeing"), "edges", "'all' or 'agreeing'", self.edges)
        encoded = self.neighbors == "packed" or not self.update_statistics
        rule = "off unless neighbors is packed, which alone encodes them"
        check(encoded, "update_statistics", rule, self.update_statistics)
        check(self.precision in PRECISIONS, "precision", f"one of {PRECISIONS}", self.precision)
        check(self.keep in ("best", "last"), "keep", "'best' or 'last'", self.keep)
