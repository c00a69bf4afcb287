"""The stage that trains a light network."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import tensorflow as tf
from tqdm import tqdm

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import has_split
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.labels import check_hidden, check_splits
from ser_nsl.errors import InputError
from ser_nsl.networks import NETWORKS, NetworkName
from ser_nsl.networks.saved import save_model
from ser_nsl.pipeline.stage import read_record, stage
from ser_nsl.training.data import TrainingClips, labelled_clips, training_clips
from ser_nsl.training.devices import all_devices, check_shares
from ser_nsl.training.fit import fit
from ser_nsl.training.graph_regularization import GraphRegularization, check_layer, graph_config
from ser_nsl.training.settings import Method, TrainingConfig
from ser_nsl.training.transfer import TransferMethod, with_embedding

_SOME_SECONDS = 4.0  # a length on which any network can be built


@stage(inputs=("features", "training_records", "embeddings"), makes="folder", resumes=True)
def train_downstream(
    *,
    features: Path,
    out: Path,
    model: NetworkName = "resnet9",
    method: Method = "nsl",
    training_records: Path | None = None,
    max_neighbors: int = 3,
    embeddings: Path | None = None,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
    training: TrainingConfig = TrainingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Trains a light network on labels, and with `nsl` on the graph too.

    A training that was stopped goes on after its last whole epoch, and ends with the same weights
    as one that was not (on GPUs with TF_DETERMINISTIC_OPS=1). It uses all GPUs of the machine, and
    with TF_CONFIG those of several: the same command on each, where --out is a folder of its own.

    Args:
        features: Log Mel records.
        out: Folder for `model.h5` (of the epoch kept), `last.weights.h5` (of the last one),
            `description.json`, `history.json`, and `logs` for TensorBoard.
        model: The network.
        method: `base` trains on labels only; `nsl` makes neighbours alike as well; `add`, `max`
            and `avg` join the upstream's embedding to fc1.
        training_records: Clips packed with their neighbours, for `nsl`.
        max_neighbors: Neighbours to use of those packed, for `nsl`.
        embeddings: The upstream's embeddings of the training and validation clips, for `add`,
            `max` and `avg`.
        splits: Splits to train on; `train val` for the paper's test figures, together with
            --training.keep last, and for `nsl` with records packed from the same splits.
        training: Epochs, learning rate, augmentation, graph loss, seed.

    Returns:
        Numbers of clips, epochs, the epoch kept, and its UAR on the validation split.

    Raises:
        InputError: If the test split shall train, an input that the method needs is missing or does
            not fit, the graph knows labels that are hidden, the layer is unknown, a batch cannot be
            shared out, the disk is full, or the loss is not finite.
    """
    check_splits(splits)
    if method == "nsl" and max_neighbors < 1:
        raise InputError(f"max_neighbors: must be at least 1; received {max_neighbors}.")
    strategy = all_devices()
    check_shares(training.batch_size, strategy)
    description = Description.load(features)
    validated = "val" not in splits and has_split(features, "val")
    if training.keep == "best" and not validated:
        raise InputError(
            "training.keep: 'best' needs a validation split that is not trained on; choose 'last'."
        )
    if training.patience and not validated:
        raise InputError(
            "training.patience: needs a validation split that is not trained on; choose 0."
        )
    if (method == "nsl") != (training_records is not None):
        raise InputError("training_records: the method 'nsl', and no other, needs them.")
    if (method in ("add", "max", "avg")) != (embeddings is not None):
        raise InputError("embeddings: the methods add, max and avg, and no other, need them.")

    if training_records is not None:
        _check_records(training_records, description, splits)
        share, seed = training.label_share, training.seed
        check_hidden(training_records, share, seed, argument="training_records")
    clips = training_clips(
        training_records or features,
        ("train",) if method == "nsl" else splits,  # of packed clips all train
        description,
        neighbors=max_neighbors if method == "nsl" else 0,
        source=training.neighbors,
        agreeing=method == "nsl" and training.edges == "agreeing",
        label_share=training.label_share,
        seed=training.seed,
        embeddings=embeddings,
    )
    if method == "nsl" and not (clips.weights > 0).any():
        advice = "build it with a lower --similarity-threshold"
        if training.edges == "agreeing":
            advice += ", pack more neighbours, or choose --training.edges all"
        raise InputError(
            f"training_records: no clip of {training_records} has a neighbour that counts, so "
            f"there is nothing to learn from the graph; {advice}."
        )
    most = int((clips.weights > 0).sum(axis=1).max(initial=0))
    if method == "nsl" and most < max_neighbors:
        tqdm.write(
            f"max_neighbors: {max_neighbors} are asked for, but no clip has more than {most}; pack "
            "more, or lower the graph's threshold."
        )
    validation = None
    if validated:
        validation = labelled_clips(features, ("val",), description, embeddings=embeddings)
    transfer = None if embeddings is None else cast(TransferMethod, method)
    build = partial(_build, model, description, transfer)
    tf.keras.utils.set_random_seed(training.seed)
    with strategy.scope(), _precision(training.precision):
        network = build()
        trained = regularized(network, clips, training) if method == "nsl" else network
    progress = fit(trained, network, clips, validation, description, training, out)
    history, kept = progress.history, progress.kept_epoch
    saved = build()  # for one device and in float32, as the weights are in any case
    saved.set_weights(network.get_weights())
    saved.compile()  # else Keras warns, when it is saved, of metrics that are not built
    save_model(saved, description, out)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    progress.remove()
    shown = {"val_uar": f"{history[kept]['val_uar']:.1%}"} if validated else {}
    return {
        "clips": len(clips.labelled),
        **(_neighbor_counts(clips) if method == "nsl" else {}),
        "epochs": len(history),
        "kept_epoch": kept + 1,
        **shown,
    }


def _check_records(
    training_records: Path, description: Description, splits: tuple[str, ...]
) -> None:
    """Refuses clips of other splits or features, as far as the records tell theirs."""
    record = read_record(training_records) or {}
    packed = record.get("settings", {}).get("splits", splits)
    if sorted(packed) != sorted(splits):
        raise InputError(
            f"splits: {training_records} holds clips of {' and '.join(packed)}; received "
            f"{' '.join(splits)}. Choose these, or pack those."
        )
    told = (training_records / "description.json").exists()
    if told and Description.load(training_records) != description:
        raise InputError(
            f"training_records: {training_records} was packed from features with other classes, "
            "front end or length than those given as --features; pack these."
        )


def _neighbor_counts(clips: TrainingClips) -> dict[str, Any]:
    degrees = (clips.weights > 0).sum(axis=1)[clips.labelled]
    return {"neighbors": f"{degrees.mean():.1f}", "without_neighbors": int((degrees == 0).sum())}


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Networks made here compute in this precision."""
    former = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(former)


def regularized(
    network: tf.keras.Model, clips: TrainingClips, training: TrainingConfig
) -> GraphRegularization:
    """Wraps a network so that it learns from the graph too.

    Args:
        network: The network.
        clips: Opened with neighbours.
        training: Weight, layer and source of neighbours.

    Raises:
        InputError: If the network has no such layer.
    """
    return GraphRegularization(
        network,
        graph_config(
            neighbors=clips.weights.shape[1], alpha=training.alpha, distance=training.distance
        ),
        layer=training.layer,
        neighbors=training.neighbors,
        clips=len(clips.ids) if training.neighbors == "bank" else None,
        update_statistics=training.update_statistics,
    )


def check_networks(
    networks: Collection[str],
    layers: Collection[str],
    front_end: FrontEndConfig,
    clip_seconds: float | None,
) -> None:
    """Refuses unknown networks and layers now, not after the long stages before training.

    Args:
        networks: Names.
        layers: Names of layers that each must have.
        front_end: Of the features.
        clip_seconds: Length of the clips; None if it is not known yet.

    Raises:
        InputError: If there is no such network, or it has no such layer.
    """
    description = Description(
        front_end,
        clip_samples=round((clip_seconds or _SOME_SECONDS) * front_end.sample_rate_hz),
        classes=("some", "class"),
        mean=(0.0,) * front_end.mel_bins,
        deviation=(1.0,) * front_end.mel_bins,
    )
    for name in networks:
        if name not in NETWORKS:
            raise InputError(f"networks: {name!r} is unknown; known are {', '.join(NETWORKS)}.")
        for layer in layers:
            check_layer(NETWORKS[name](description), layer)


def _build(model: str, description: Description, transfer: TransferMethod | None) -> tf.keras.Model:
    try:
        network = NETWORKS[model](description)
    except ValueError as error:  # a picture that a pooling layer cannot halve any more
        frames, bands = description.logmel_shape
        raise InputError(
            f"features: clips of {frames} frames and {bands} bands are too small for {model}; "
            "extract longer ones (--clip-seconds) or choose another network."
        ) from error
    return network if transfer is None else with_embedding(network, transfer)
