"""The stage that trains a light network."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import has_split
from ser_nsl.corpora.labels import check_hidden, check_splits
from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.networks import NETWORKS, NetworkName
from ser_nsl.networks.blocks import EMBEDDING_WIDTH
from ser_nsl.networks.saved import save_model
from ser_nsl.networks.start import copy_weights, read_start
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.devices import all_devices, check_shares
from ser_nsl.training.schedule import learning_rate_schedule
from ser_nsl.training.settings import TAUGHT, TRANSFERS, Method, TrainingConfig
from ser_nsl.training.transfer import with_embedding

if TYPE_CHECKING:
    from ser_nsl.training.data import TrainingClips

_ANY_SECONDS = 4.0  # a length for which every network can be built


@stage(
    inputs=("features", "training_records", "embeddings", "start"),
    makes="folder",
    resumes=True,
    remote=("features", "training_records", "embeddings"),
)
def train_downstream(
    *,
    features: Path,
    out: Path,
    model: NetworkName = "cnn_tdnn",
    method: Method = "nsl",
    training_records: Path | None = None,
    max_neighbors: int = 3,
    embeddings: Path | None = None,
    start: Path | None = None,
    splits: tuple[Literal["train", "val"], ...] = ("train",),
    training: TrainingConfig = TrainingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Trains a light network on labels, and on what a graph or an upstream says of the clips.

    A training that was stopped goes on after its last whole epoch, and ends with the same weights
    as one that was not (on GPUs with TF_DETERMINISTIC_OPS=1). It uses all GPUs of the machine, and
    with TF_CONFIG those of several: the same command on each, each with its own --out.

    Args:
        features: Folder with log Mel records.
        out: Folder for `model.h5` (with the weights kept), `last.weights.h5` (of the last epoch),
            `description.json`, `history.json`, and `logs` for TensorBoard.
        model: Network to train.
        method: `base` trains on labels only; `nsl` also makes neighbours similar; `embedding` also
            predicts the upstream's embeddings, `similarity` follows their similarities within a
            batch, `probabilities` those that a probe or a graph gives to emotions; `add`, `max`
            and `avg` join the upstream's embedding to fc1, and need it on the device too.
        training_records: Folder with clips packed with their neighbours, for `nsl`.
        max_neighbors: Number of packed neighbours to use, for `nsl`.
        embeddings: Folder with the embeddings of the training clips, for `embedding` and
            `similarity`; with probabilities of emotions for `probabilities`; with the upstream's
            embeddings of training and validation clips for `add`, `max` and `avg`.
        start: Folder of a network to start from, made by `teach_network` or by this stage; its
            last layer is made anew.
        splits: Splits to train on; `train val` for the paper's test figures, together with
            --training.keep last, and for `nsl` with records packed from the same splits.
        training: Epochs, learning rate, augmentation, graph loss, seed.

    Returns:
        Numbers of clips and epochs, the epoch kept, and its UAR on the validation split.

    Raises:
        InputError: If there is one emotion only, the test split is to train, an input that the
            method needs is missing or does not fit, the graph or the probabilities were made with
            hidden labels, the start is another network or front end, the layer is unknown, the
            schedule is none of Keras, a batch cannot be divided among devices, the disk is full,
            or the loss is not finite.

    Example:
        >>> from ser_nsl.networks.blocks import classify, logmel_input
        >>> def pooled(description):  # a network of your own
        ...     return classify(*logmel_input(description), description, "pooled")
        >>> NETWORKS["pooled"] = pooled
        >>> trained = train_downstream(features=Path("features"), model="pooled",
        ...     training_records=Path("training"), training=TrainingConfig(epochs=1),
        ...     out=Path("trained"))
        >>> trained.counts["clips"], trained.counts["epochs"]
        (12, 1)
        >>> del NETWORKS["pooled"]
    """
    from ser_nsl.training.data import labelled_clips, training_clips
    from ser_nsl.training.fit import fit
    from ser_nsl.training.graph_regularization import regularized
    from ser_nsl.training.taught import taught

    check_splits(splits)
    _check_given(method, max_neighbors, training_records, embeddings)
    strategy = all_devices()
    check_shares(training.batch_size, strategy)
    learning_rate_schedule(training, 1)
    description = Description.load(features)
    _check_emotions(features, description)
    validated = "val" not in splits and has_split(features, "val")
    _check_choice(training, validated)
    share, seed = training.label_share, training.seed
    check_hidden(features, 1.0, seed, splits, argument="features")  # validation clips keep theirs
    for argument, given in {"training_records": training_records, "embeddings": embeddings}.items():
        if given is not None:
            check_hidden(given, share, seed, splits, argument=argument)
    if training_records is not None:
        _check_records(training_records, description, splits)
    started = None
    if start is not None:
        started, description = read_start(start, model, description)
    transfer = method if method in TRANSFERS else None
    if transfer and embeddings:
        _check_width(embeddings, splits)
    clips = training_clips(
        training_records or features,
        ("train",) if method == "nsl" else splits,  # all packed clips are of the split train
        description,
        neighbors=max_neighbors if method == "nsl" else 0,
        source=training.neighbors,
        agreeing=method == "nsl" and training.edges == "agreeing",
        label_share=training.label_share,
        seed=training.seed,
        embeddings=embeddings,
        unlabelled=method in TAUGHT,
        copies=features if training.copies else None,
    )
    counts: dict[str, Any] = {"clips": len(clips.labelled)}
    if training_records is not None:
        counts |= _count_neighbors(clips, max_neighbors, training_records, training.edges)
    validation = None
    if validated:
        joined = embeddings if transfer else None
        validation = labelled_clips(features, ("val",), description, embeddings=joined)
    build = partial(build_network, model, description, transfer)
    tf.keras.utils.set_random_seed(training.seed)
    former = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(training.precision)
    try:
        with strategy.scope():
            network = trained = build()
            if started is not None:
                copy_weights(started, network)
            if method == "nsl":
                trained = regularized(network, clips, training)
            elif method in TAUGHT:
                assert embeddings is not None  # checked above
                classes, alpha = len(description.classes), training.alpha
                trained = taught(
                    network, method, embeddings, splits=splits, classes=classes, alpha=alpha
                )
    finally:
        tf.keras.mixed_precision.set_global_policy(former)
    head_epochs = _head_epochs(training) if start else 0
    progress = fit(
        trained, network, clips, validation, description, training, out, head_epochs=head_epochs
    )
    history, kept = progress.history, progress.kept_epoch
    saved = build()  # for one device, in float32
    saved.set_weights(network.get_weights())
    saved.compile()  # else Keras warns, when it is saved, of metrics that are not built
    save_model(saved, description, out)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    progress.remove()
    counts |= {"epochs": len(history), "kept_epoch": kept + 1}
    return counts | ({"val_uar": f"{history[kept]['val_uar']:.1%}"} if validated else {})


def _check_given(
    method: Method, max_neighbors: int, training_records: Path | None, embeddings: Path | None
) -> None:
    """Refuses a method without what it learns from, and what it has no use for."""
    if method == "nsl" and max_neighbors < 1:
        raise InputError(f"max_neighbors: must be at least 1; received {max_neighbors}.")
    if (method == "nsl") != (training_records is not None):
        raise InputError("training_records: the method 'nsl', and no other, needs them.")
    needing = (*TAUGHT, *TRANSFERS)
    if (method in needing) != (embeddings is not None):
        raise InputError(
            f"embeddings: the methods {', '.join(needing)}, and no other, need them; the method is "
            f"{method}."
        )


def _check_emotions(features: Path, description: Description) -> None:
    if len(description.classes) < 2:
        known = f"one emotion, {description.classes[0]}" if description.classes else "no emotion"
        raise InputError(
            f"features: {features} knows {known}, and training needs two; look at "
            "what ser-nsl prepare-corpus prints of the corpus."
        )


def _check_choice(training: TrainingConfig, validated: bool) -> None:
    """Refuses to choose an epoch where no clips validate."""
    for name, needs in (("keep", training.keep == "best"), ("patience", training.patience > 0)):
        if needs and not validated:
            raise InputError(
                f"training.{name}: {getattr(training, name)!r} needs a validation split that is "
                "not trained on; choose keep 'last' and patience 0."
            )


def _check_records(
    training_records: Path, description: Description, splits: tuple[str, ...]
) -> None:
    """Refuses clips of other splits or features, where the records name theirs."""
    record = read_record(training_records) or {}
    packed = record.get("settings", {}).get("splits", splits)
    if sorted(packed) != sorted(splits):
        raise InputError(
            f"splits: {training_records} holds clips of {' and '.join(packed)}; received "
            f"{' '.join(splits)}. Choose the same splits, or pack others."
        )
    described = (training_records / "description.json").exists()
    if described and Description.load(training_records) != description:
        raise InputError(
            f"training_records: {training_records} was packed from features with other classes, "
            "front end or length than those given as --features; pack these."
        )


def _check_width(embeddings: Path, splits: tuple[str, ...]) -> None:
    width = len(next(iter(read_embeddings(embeddings, splits).values())))
    if width != EMBEDDING_WIDTH:
        raise InputError(
            f"{embeddings}: the methods add, max and avg need embeddings of {EMBEDDING_WIDTH} "
            f"numbers; received {width}."
        )


def _count_neighbors(
    clips: TrainingClips, asked: int, training_records: Path, edges: str
) -> dict[str, Any]:
    """Counts neighbours; refuses a graph without any, and reports one with fewer than asked for."""
    degrees = (clips.weights > 0).sum(axis=1)
    most = int(degrees.max(initial=0))
    if not most:
        advice = "build the graph with a lower --similarity-threshold"
        if edges == "agreeing":
            advice += ", pack more neighbours, or choose --training.edges all"
        raise InputError(
            f"training_records: no clip of {training_records} has a neighbour of positive weight, "
            f"so there is nothing to learn from the graph; {advice}."
        )
    if most < asked:
        Bar.write(
            f"max_neighbors: {asked} are asked for, but no clip has more than {most}; pack more, "
            "or lower the graph's threshold."
        )
    labelled = degrees[clips.labelled]
    return {"neighbors": f"{labelled.mean():.1f}", "without_neighbors": int((labelled == 0).sum())}


def _head_epochs(training: TrainingConfig) -> int:
    """Returns the epochs in which fc1 and fc2 learn alone; reports that all of them are."""
    if training.head_epochs >= training.epochs:
        Bar.write(
            f"training.head_epochs: fc1 and fc2 learn alone in all {training.epochs} epochs; train "
            f"for more than {training.head_epochs}, or lower head_epochs, for the other layers to "
            "learn."
        )
    return training.head_epochs


def check_networks(
    networks: Collection[str],
    layers: Collection[str],
    front_end: FrontEndConfig,
    clip_seconds: float | None,
    starts: Mapping[str, Path],
) -> None:
    """Refuses unknown networks, layers and starts before the long stages that precede training.

    Args:
        networks: Names of networks.
        layers: Names of layers that each network must have.
        front_end: Front end of the features.
        clip_seconds: Length of the clips in seconds; None if it is not known yet.
        starts: Folders of taught networks to start from, by the name of the network.

    Raises:
        InputError: If there is no such network, it has no such layer, or a start is missing, of
            another network or of another front end.
    """
    from ser_nsl.training.tap import check_layer

    description = Description(
        front_end,
        clip_samples=round((clip_seconds or _ANY_SECONDS) * front_end.sample_rate_hz),
        classes=("any", "class"),
        mean=(0.0,) * front_end.mel_bins,
        deviation=(1.0,) * front_end.mel_bins,
    )
    for name in [*networks, *starts]:
        if name not in NETWORKS:
            raise InputError(f"networks: {name!r} is unknown; known are {', '.join(NETWORKS)}.")
    for name, folder in starts.items():
        if not folder.is_dir():
            raise InputError(
                f"starts: {folder} is no folder with a taught {name}; run from the folder that it "
                f"belongs to, or give another: --set starts.{name}=FOLDER."
            )
        read_start(folder, name, description)
    for name in networks:
        for layer in layers:
            check_layer(NETWORKS[name](description), layer)


def build_network(model: str, description: Description, transfer: str | None) -> tf.keras.Model:
    """Builds a network whose layers have the names that they have in a new process.

    Args:
        model: Name of the network.
        description: Description of the features.
        transfer: `add`, `max` or `avg` to join an embedding to fc1; None for the network itself.

    Raises:
        InputError: If clips are too small for the network.
    """
    # Layers get numbers in their names, which no earlier network of this process may change: a
    # training that was killed must end with the same files.
    tf.keras.backend.reset_uids()
    try:
        network = NETWORKS[model](description)
    except ValueError as error:  # a pooling layer cannot halve its input any more
        frames, bands = description.logmel_shape
        raise InputError(
            f"features: clips of {frames} frames and {bands} bands are too small for {model}; "
            "extract longer ones (--clip-seconds) or choose another network."
        ) from error
    return network if transfer is None else with_embedding(network, transfer)
