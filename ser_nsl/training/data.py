"""What training and evaluation read: labelled clips, with neighbours or embeddings beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.downstream.blocks import EMBEDDING_WIDTH
from ser_nsl.errors import InputError
from ser_nsl.features import Description
from ser_nsl.records import UNLABELLED, parsed, read_embeddings, read_labels, shard_paths


@dataclass(frozen=True)
class Clips:
    """Labelled clips.

    Attributes:
        dataset: Elements `(inputs, label)`; inputs are `logmel` and, where asked for,
            neighbours or `embedding`.
        labels: From id to label, in the dataset's order.
    """

    dataset: tf.data.Dataset
    labels: Mapping[str, int]


def labelled_clips(
    records: Path,
    splits: Sequence[str],
    description: Description,
    *,
    neighbors: int = 0,
    embeddings: Path | None = None,
) -> Clips:
    """Opens the labelled clips of some splits, having read every record once to check it.

    Args:
        records: Folder of features, or of training records where `neighbors` is above 0.
        splits: Some of `train`, `val`, `test`.
        description: Of the features.
        neighbors: How many neighbours to read; the clip itself, with weight 0, stands in for
            missing ones.
        embeddings: Records of embeddings, joined by id.

    Returns:
        The clips in the order of the records.

    Raises:
        InputError: If a record is damaged, no clip has a label, or an embedding is missing or
            of another width.
    """
    labels = {}
    for split in splits:
        labels |= read_labels(records, split)
    labels = {key: label for key, label in labels.items() if label != UNLABELLED}
    if not labels:
        raise InputError(f"{records}: no clip of {', '.join(splits)} has a label.")
    paths = [path for split in splits for path in shard_paths(records, split)]
    dataset = parsed(paths, description.logmel_shape, neighbors=neighbors)
    dataset = dataset.filter(lambda clip: clip["label"] != UNLABELLED)
    dataset = dataset.map(_fill_missing_neighbors, num_parallel_calls=tf.data.AUTOTUNE)
    if embeddings is not None:
        dataset = _join_embeddings(dataset, list(labels), embeddings, splits)
    return Clips(dataset.map(_inputs_and_label, num_parallel_calls=tf.data.AUTOTUNE), labels)


def _fill_missing_neighbors(clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Puts the clip in the place of neighbours that it lacks.

    Their weight of 0 keeps them out of the loss, but zeros, which are loud at 0 dB in every band,
    would enter the statistics of batch normalisation.
    """
    return clip | {
        name: tf.where(clip[name.replace("logmel", "weight")] != 0, logmel, clip["logmel"])
        for name, logmel in clip.items()
        if name.startswith("NL_nbr_") and name.endswith("logmel")
    }


def _inputs_and_label(clip: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    inputs = {name: value for name, value in clip.items() if name not in ("id", "label")}
    return inputs, clip["label"]


def _join_embeddings(
    dataset: tf.data.Dataset, ids: list[str], embeddings: Path, splits: Sequence[str]
) -> tf.data.Dataset:
    """Adds `embedding` to each clip, by id."""
    vectors = read_embeddings(embeddings, splits)
    missing = [utterance_id for utterance_id in ids if utterance_id not in vectors]
    if missing:
        raise InputError(
            f"{embeddings}: {len(missing)} of {len(ids)} clips have no embedding (first: "
            f"{', '.join(missing[:3])}). Run tools/extract_embeddings.py on the same manifest."
        )
    matrix = np.stack([vectors[utterance_id] for utterance_id in ids])
    if matrix.shape[1] != EMBEDDING_WIDTH:
        raise InputError(
            f"{embeddings}: the methods add, max and avg need embeddings of {EMBEDDING_WIDTH} "
            f"numbers; received {matrix.shape[1]}."
        )
    rows = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(ids, tf.range(len(ids), dtype=tf.int64)), -1
    )
    return dataset.map(
        lambda clip: clip | {"embedding": tf.gather(matrix, rows.lookup(clip["id"]))}
    )
