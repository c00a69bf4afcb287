"""The stage that teaches a light network what an upstream hears, before it sees any label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.errors import InputError
from ser_nsl.networks import NetworkName
from ser_nsl.networks.lazy import tf
from ser_nsl.networks.saved import save_model
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.train import build_network

_FEWEST = 2  # one clip has no similarity to others, and no deviation


@stage(
    inputs=("features", "embeddings"),
    makes="folder",
    resumes=True,
    remote=("features", "embeddings"),
)
def teach_network(
    *,
    features: Path,
    embeddings: Path,
    out: Path,
    model: NetworkName = "resnet9_quarter",
    method: Literal["embedding", "similarity"] = "embedding",
    training: TrainingConfig = TrainingConfig(keep="last"),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Teaches a light network to predict an upstream's embeddings, on speech without labels.

    The network can then be trained on few labels: `train-downstream --start`. Labels that the
    clips may have are not used. A teaching that was stopped goes on after its last whole epoch.

    Args:
        features: Folder with log Mel records of speech; the split `train` is used.
        embeddings: Folder with the upstream's embeddings of the same clips.
        out: Folder for the network up to fc1, `history.json`, and `logs` for TensorBoard.
        model: Network to teach.
        method: What it learns: to predict the `embedding`, or only the `similarity` of clips to
            each other, as fc1 divides it.
        training: Epochs, batch size, learning rate, augmentation, seed.

    Returns:
        Numbers of clips and epochs, and the loss of the first and of the last epoch: for
        `embedding` the share of the embeddings' variance that is not explained.

    Raises:
        InputError: If there are fewer than two clips, one has no embedding, a best epoch is to be
            kept, or the loss is not finite.

    Example:
        >>> made = teach_network(  # doctest: +SKIP
        ...     features=Path("features"), embeddings=Path("uncentered"), out=Path("start")
        ... )
    """
    from ser_nsl.training.data import training_clips
    from ser_nsl.training.fit import fit
    from ser_nsl.training.taught import taught

    if training.keep == "best" or training.patience:
        raise InputError(
            "training: without labels no epoch is the best; choose --training.keep last and "
            f"--training.patience 0; received {training.keep} and {training.patience}."
        )
    description = replace(Description.load(features), classes=())
    clips = training_clips(
        features,
        ("train",),
        description,
        embeddings=embeddings,
        unlabelled=True,
        copies=features if training.copies else None,
    )
    clips = replace(clips, labels=np.full(len(clips.ids), UNLABELLED))
    if len(clips.ids) < _FEWEST:
        raise InputError(
            f"features: {features} must hold at least {_FEWEST} clips to learn from; received "
            f"{len(clips.ids)}. Give more speech."
        )
    tf.keras.utils.set_random_seed(training.seed)
    network = build_network(model, replace(description, classes=("none",)), None)
    body = tf.keras.Model(network.input, network.get_layer("fc1").output, name=network.name)
    trained = taught(body, method, embeddings, splits=("train",), classes=0, alpha=training.alpha)
    progress = fit(trained, body, clips, None, description, training, out)
    body.compile()  # else Keras warns, when it is saved, of metrics that are not built
    save_model(body, description, out)
    history = progress.history
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    progress.remove()
    first, last = (round(epoch["taught_loss"], 4) for epoch in (history[0], history[-1]))
    return {
        "clips": len(clips.ids),
        "epochs": len(history),
        "first_loss": first,
        "last_loss": last,
    }
