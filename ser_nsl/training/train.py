"""The stage that trains a light network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
from tqdm import tqdm

from ser_nsl.config import TrainingConfig
from ser_nsl.downstream import NETWORKS
from ser_nsl.downstream.saved import save_model
from ser_nsl.errors import InputError
from ser_nsl.features import Description
from ser_nsl.records import has_split
from ser_nsl.stage import stage
from ser_nsl.training.data import Clips, labelled_clips
from ser_nsl.training.graph_regularization import GraphRegularization, graph_config
from ser_nsl.training.transfer import with_embedding
from ser_nsl.training.uar import UAR


@stage(inputs=("features", "training_records", "embeddings"), makes="folder")
def train_downstream(
    *,
    features: Path,
    out: Path,
    model: Literal["vgg15", "resnet9", "cnn6", "mobilenet15"] = "resnet9",
    method: Literal["base", "nsl", "add", "max", "avg"] = "nsl",
    training_records: Path | None = None,
    max_neighbors: int = 3,
    embeddings: Path | None = None,
    splits: tuple[str, ...] = ("train",),
    training: TrainingConfig = TrainingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Trains a light network on labels, and with `nsl` on the graph too.

    Args:
        features: Log Mel records.
        out: Folder for `model.h5`, `description.json` and `history.json`.
        model: The network.
        method: `base` trains on labels only; `nsl` makes neighbours alike as well; `add`, `max`
            and `avg` join the upstream's embedding to fc1.
        training_records: Clips packed with their neighbours, for `nsl`.
        max_neighbors: Neighbours to use of those packed, for `nsl`.
        embeddings: The upstream's embeddings of the training and validation clips, for `add`,
            `max` and `avg`.
        splits: Splits to train on; `train val` for the paper's test figures, together with
            --training.keep last.
        training: Epochs, learning rate, graph loss, seed.

    Returns:
        Numbers of clips, epochs, the epoch kept, and its UAR on the validation split.

    Raises:
        InputError: If an input that the method needs is missing or does not fit, the layer is
            unknown, or the loss is not finite.
    """
    description = Description.load(features)
    validated = "val" not in splits and has_split(features, "val")
    if training.keep == "best" and not validated:
        raise InputError(
            "training.keep: 'best' needs a validation split that is not trained on; choose 'last'."
        )
    if (method == "nsl") != (training_records is not None):
        raise InputError("training_records: the method 'nsl', and no other, needs them.")
    if (method in ("add", "max", "avg")) != (embeddings is not None):
        raise InputError("embeddings: the methods add, max and avg, and no other, need them.")

    tf.keras.utils.set_random_seed(training.seed)
    if method == "nsl":
        clips = labelled_clips(training_records, ("train",), description, neighbors=max_neighbors)
    else:
        clips = labelled_clips(features, splits, description, embeddings=embeddings)
    validation = (
        labelled_clips(features, ("val",), description, embeddings=embeddings)
        if validated
        else None
    )
    network = _build(model, description)
    if embeddings is not None:
        network = with_embedding(network, method)
    trained = network
    if method == "nsl":
        trained = GraphRegularization(
            network,
            graph_config(neighbors=max_neighbors, alpha=training.alpha),
            layer=training.layer,
        )
    history = fit(trained, network, clips, validation, len(description.classes), training)
    save_model(network, description, out)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    kept = _kept_epoch(history, training)
    shown = {"val_uar": f"{history[kept]['val_uar']:.1%}"} if validated else {}
    return {"clips": len(clips.labels), "epochs": len(history), "kept_epoch": kept + 1, **shown}


def _build(model: str, description: Description) -> tf.keras.Model:
    try:
        return NETWORKS[model](description)
    except ValueError as error:  # a picture that a pooling layer cannot halve any more
        frames, bands = description.logmel_shape
        raise InputError(
            f"features: clips of {frames} frames and {bands} bands are too small for {model}; "
            "extract longer ones (--clip-seconds) or choose another network."
        ) from error


def fit(
    trained: tf.keras.Model,
    network: tf.keras.Model,
    clips: Clips,
    validation: Clips | None,
    classes: int,
    config: TrainingConfig,
) -> list[dict[str, float]]:
    """Runs the epochs and leaves the kept weights in the network.

    Args:
        trained: What is fitted: the network, or its graph-regularised wrapper.
        network: The network whose weights are kept.
        clips: To train on.
        validation: To choose the epoch on, or None.
        classes: Number of classes.
        config: Epochs, learning rate, seed.

    Returns:
        For each epoch `loss`, `uar`, `learning_rate`, for NSL `graph_loss`, and `val_loss` and
        `val_uar` where there is a validation split.

    Raises:
        InputError: If the loss is not finite.
    """
    trained.compile(
        tf.keras.optimizers.Adam(config.learning_rate),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[UAR(classes)],
    )
    shuffled = clips.shuffled(config.batch_size, seed=config.seed)
    keep = KeepWeights(network, config)
    history = trained.fit(
        shuffled.prefetch(tf.data.AUTOTUNE),
        validation_data=validation and validation.dataset.batch(config.batch_size).cache(),
        epochs=config.epochs,
        callbacks=[
            tf.keras.callbacks.LearningRateScheduler(
                lambda epoch: config.learning_rate * config.decay ** (epoch // config.decay_epochs)
            ),
            keep,
            ShowProgress(config.epochs),
        ],
        verbose=0,
    ).history
    history["learning_rate"] = [float(rate) for rate in history.pop("lr")]
    keep.restore()
    return [
        dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)
    ]


class ShowProgress(tf.keras.callbacks.Callback):
    """A bar of epochs with time left, and the losses and UAR beside it."""

    def __init__(self, epochs: int) -> None:
        """Starts the bar.

        Args:
            epochs: Number of epochs.
        """
        super().__init__()
        self._bar = tqdm(total=epochs, desc="training", unit="epoch")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Moves on by an epoch."""
        names = ("loss", "graph_loss", "uar", "val_uar")
        self._bar.set_postfix({name: f"{logs[name]:.3f}" for name in names if name in logs})
        self._bar.update()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


class KeepWeights(tf.keras.callbacks.Callback):
    """Remembers the network's best weights, and stops when the loss is not finite."""

    def __init__(self, network: tf.keras.Model, config: TrainingConfig) -> None:
        """Watches a network.

        Args:
            network: Whose weights to remember.
            config: Says whether the best or the last epoch is kept.
        """
        super().__init__()
        self._network = network
        self._best = -1.0 if config.keep == "best" else None
        self._weights = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Checks the loss and compares the epoch with the best so far."""
        if not abs(logs["loss"]) < float("inf"):
            raise InputError(
                f"training: the loss is {logs['loss']} in epoch {epoch + 1}; lower "
                "--training.learning-rate."
            )
        if self._best is not None and logs["val_uar"] > self._best:
            self._best = logs["val_uar"]
            self._weights = self._network.get_weights()

    def restore(self) -> None:
        """Puts the kept weights back into the network."""
        if self._weights is not None:
            self._network.set_weights(self._weights)


def _kept_epoch(history: list[dict[str, float]], config: TrainingConfig) -> int:
    """Index of the epoch whose weights were kept: the first of the best, or the last."""
    if config.keep == "last":
        return len(history) - 1
    return max(range(len(history)), key=lambda epoch: history[epoch]["val_uar"])
