"""The stage that fills in labels with what a probe guesses: what a graph has to be better than."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import (
    UNLABELLED,
    example_id,
    read_embeddings,
    read_examples,
    read_labels,
    shard_paths,
)
from ser_nsl.corpora.labels import check_hidden, check_share, known_labels
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage


@stage(inputs=("features", "embeddings"), makes="folder")
def pseudo_label(
    *, features: Path, embeddings: Path, out: Path, label_share: float = 1.0, seed: int = 0
) -> Mapping[str, Any]:
    """Gives training clips without a label the emotion that a probe finds likeliest.

    Plain training on such labels uses what the probe knows without a graph. Labels that training
    knows stay as they are, and so do validation and test clips.

    Args:
        features: Log Mel records.
        embeddings: Probabilities of the training clips, made by tools/probe_embeddings.py.
        out: Folder for the records with these labels.
        label_share: Share of the labels that training may know; that of the probe.
        seed: Of the draw of these labels; that of the probe.

    Returns:
        Numbers of training clips, of labels known, and of labels guessed.

    Raises:
        InputError: If the share is out of range, the probe knew other labels, a clip was not
            probed, or the probabilities are not those of the classes.
    """
    check_share(label_share)
    check_hidden(embeddings, label_share, seed, argument="embeddings")
    description, labels = Description.load(features), read_labels(features, "train")
    guesses = read_embeddings(embeddings, ["train"])
    missing = [utterance_id for utterance_id in labels if utterance_id not in guesses]
    if missing:
        raise InputError(
            f"embeddings: {embeddings} lacks {len(missing)} clips of {features} (first: "
            f"{', '.join(missing[:3])}); probe all training clips."
        )
    width, classes = len(next(iter(guesses.values()))), len(description.classes)
    if width != classes:
        raise InputError(
            f"embeddings: must hold one probability for each of {classes} emotions; received "
            f"{width} numbers. Give what tools/probe_embeddings.py makes of labels of all emotions."
        )
    ids = [*labels]
    known = known_labels(ids, np.array([*labels.values()]), label_share, seed)
    guessed = np.array([guesses[utterance_id].argmax() for utterance_id in ids])
    filled = np.where(known == UNLABELLED, guessed, known)
    label_of = dict(zip(ids, filled.tolist(), strict=True))
    for path in shard_paths(features, "train"):
        with tf.io.TFRecordWriter(str(out / path.name)) as writer:
            for example in read_examples([path]):
                label = example.features.feature["label"].int64_list.value
                label[:] = [label_of[example_id(example)]]
                writer.write(example.SerializeToString(deterministic=True))
    for path in Path(features).glob("*.tfrecord"):
        if not path.name.startswith("train-"):
            shutil.copy(path, out)
    description.save(out)
    hidden = int((known == UNLABELLED).sum())
    return {"clips": len(ids), "known": len(ids) - hidden, "guessed": hidden}
