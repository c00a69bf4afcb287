"""What training and evaluation read: labelled clips, with neighbours or embeddings beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.downstream.blocks import EMBEDDING_WIDTH
from ser_nsl.errors import InputError
from ser_nsl.features import Description
from ser_nsl.graph.indexed import is_indexed, open_indexed
from ser_nsl.records import UNLABELLED, parsed, read_embeddings, read_labels, shard_paths


@dataclass(frozen=True)
class Clips:
    """Labelled clips.

    Attributes:
        dataset: Elements `(inputs, label)`; inputs are `logmel` and, where asked for,
            neighbours or `embedding`.
        labels: From id to label, in the dataset's order.
        rows: Where clips can be fetched in any order: their numbers, in the dataset's order.
        at: From rows, one by one or in batches, to such elements.
    """

    dataset: tf.data.Dataset
    labels: Mapping[str, int]
    rows: tf.data.Dataset | None = None
    at: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None

    def shuffled(self, batch_size: int, *, seed: int) -> tf.data.Dataset:
        """The clips in batches, in another order each time; one seed means the same orders.

        Clips that can be fetched in any order are fetched anew each time. Others are kept in
        memory.

        Args:
            batch_size: Clips a batch; the last one may have fewer.
            seed: Of the orders, together with TensorFlow's own.
        """
        if self.at is None:
            clips = self.dataset.cache().shuffle(len(self.labels), seed=seed)
            return clips.batch(batch_size)
        return self.at(self.rows.shuffle(len(self.labels), seed=seed).batch(batch_size))


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
        records: Folder of features, or of training records where `neighbors` is above 0: those
            that `nsl.tools.pack_nbrs` writes, or indexed ones, whose features stay on disk.
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
    labels = read_labels(records, *splits)
    labels = {key: label for key, label in labels.items() if label != UNLABELLED}
    if not labels:
        raise InputError(f"{records}: no clip of {', '.join(splits)} has a label.")
    join = _joiner(list(labels), embeddings, splits) if embeddings is not None else dict

    def prepared(clips: tf.data.Dataset) -> tf.data.Dataset:
        return clips.map(
            lambda clip: _inputs_and_label(join(_fill_missing_neighbors(clip))),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    paths = [path for split in splits for path in shard_paths(records, split)]
    if is_indexed(paths):
        indexed = open_indexed(records, splits, description.logmel_shape, neighbors=neighbors)
        rows = indexed.labelled

        def at(rows: tf.data.Dataset) -> tf.data.Dataset:
            return prepared(indexed.at(rows))

        return Clips(at(rows), labels, rows, at)
    clips = parsed(paths, description.logmel_shape, neighbors=neighbors)
    return Clips(prepared(clips.filter(lambda clip: clip["label"] != UNLABELLED)), labels)


def _fill_missing_neighbors(clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Puts the clip in the place of neighbours that it lacks.

    Their weight of 0 keeps them out of the loss, but zeros, which are loud at 0 dB in every band,
    would enter the statistics of batch normalisation.
    """
    return clip | {
        name: tf.where(
            clip[name.replace("logmel", "weight")][..., tf.newaxis] != 0, logmel, clip["logmel"]
        )
        for name, logmel in clip.items()
        if name.startswith("NL_nbr_") and name.endswith("logmel")
    }


def _inputs_and_label(clip: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    inputs = {name: value for name, value in clip.items() if name not in ("id", "label")}
    return inputs, clip["label"]


def _joiner(
    ids: list[str], embeddings: Path, splits: Sequence[str]
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Makes the function that adds `embedding` to a clip, by id."""
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
    return lambda clip: clip | {"embedding": tf.gather(matrix, rows.lookup(clip["id"]))}
