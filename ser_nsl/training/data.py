"""What training and evaluation read: clips, with neighbours or embeddings beside them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import UNLABELLED, parsed, read_embeddings, read_labels, shard_paths
from ser_nsl.corpora.labels import known_labels
from ser_nsl.errors import InputError
from ser_nsl.graph.indexed import is_indexed, open_indexed
from ser_nsl.graph.official import open_official
from ser_nsl.networks.blocks import EMBEDDING_WIDTH
from ser_nsl.training.neighborhoods import neighborhood_order
from ser_nsl.training.orders import OnePass, epoch_order, shuffled
from ser_nsl.training.settings import NeighborSource

Inputs = dict[str, tf.Tensor]

_GROUP = 4  # clips of a neighbourhood, so that a batch of 16 still holds four


class LabelledClips(NamedTuple):
    """Clips to score.

    Attributes:
        dataset: Elements `(inputs, label)`; inputs are `logmel` and, where asked for, `embedding`.
        labels: From id to label, in the dataset's order.
    """

    dataset: tf.data.Dataset
    labels: Mapping[str, int]


def labelled_clips(
    records: Path,
    splits: Sequence[str],
    description: Description,
    *,
    embeddings: Path | None = None,
) -> LabelledClips:
    """Opens the labelled clips of some splits, having read every record once to check it.

    Args:
        records: Folder of features.
        splits: Some of `train`, `val`, `test`.
        description: Of the features.
        embeddings: Records of embeddings, joined by id.

    Returns:
        The clips in the order of the records.

    Raises:
        InputError: If a record is damaged, no clip has a label, or an embedding is missing or
            of another width.
    """
    labels = read_labels(records, *splits)
    labels = {key: label for key, label in labels.items() if label != UNLABELLED}
    _check_labelled(records, splits, len(labels))
    join = _joiner(list(labels), embeddings, splits)
    clips = parsed(_paths(records, splits), description.logmel_shape)
    clips = clips.filter(lambda clip: clip["label"] != UNLABELLED)
    return LabelledClips(clips.map(lambda clip: (_inputs(join(clip)), clip["label"])), labels)


@dataclass(frozen=True)
class TrainingClips:
    """Clips that can be fetched in any order.

    Attributes:
        ids: Of every clip, with a label or without.
        labels: int64, shape `(clips,)`; -1 where training may not know it.
        at: From rows, int64, in batches, to batches of inputs.
        neighbors: int, shape `(clips, n)`: rows of each clip's neighbours; its own in place of
            missing ones.
        weights: float32, shape `(clips, n)`: of each clip's neighbours, 0 for missing ones.
    """

    ids: Sequence[str]
    labels: np.ndarray
    at: Callable[[tf.data.Dataset], tf.data.Dataset]
    neighbors: np.ndarray
    weights: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Rows of clips with a label, int64."""
        return np.flatnonzero(self.labels != UNLABELLED)

    @property
    def unlabelled(self) -> np.ndarray:
        """Rows of clips without one, int64."""
        return np.flatnonzero(self.labels == UNLABELLED)

    def neighborhoods(self) -> OnePass:
        """Orders of all clips in which neighbours meet in a batch."""
        return lambda random: neighborhood_order(self.neighbors, self.weights, random, group=_GROUP)

    def inputs(self, rows: np.ndarray, batch_size: int) -> tf.data.Dataset:
        """Batches of inputs of some clips, once, in this order."""
        return self.at(tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)).map(_inputs)

    def batches(
        self,
        one_pass: OnePass | None = None,
        batch_size: int = 16,
        *,
        seed: int = 0,
        steps: int = 0,
        class_weights: np.ndarray | None = None,
        first_epoch: int = 0,
    ) -> tf.data.Dataset:
        """Batches for training; another epoch each time it is gone through.

        Args:
            one_pass: Draws the order of a pass; by default `shuffled(clips.labelled)`. For the
                source `batch` it should be `clips.neighborhoods()`.
            batch_size: Clips a batch; the last one of a pass may have fewer.
            seed: Of the orders.
            steps: Batches an epoch; 0 for those of one pass.
            class_weights: float32, shape `(classes,)`; None for all 1.
            first_epoch: From 0: which epoch comes first.

        Returns:
            Elements `(inputs, label, weight)`. The weight of clips without a label is 0, and those
            of the others make up for it, so that a mean over the batch is one over labelled clips.
        """
        factors = None if class_weights is None else tf.constant(class_weights, tf.float32)
        if one_pass is None:
            one_pass = shuffled(self.labelled)
        clips = len(one_pass(np.random.default_rng(seed)))
        length = steps * batch_size or clips
        epochs = count(first_epoch)

        def rows() -> Iterator[np.ndarray]:
            order = epoch_order(one_pass, next(epochs), clips=clips, length=length, seed=seed)
            for start in range(0, length, batch_size):
                yield order[start : start + batch_size]

        def weighted(clip: Inputs) -> tuple[Inputs, tf.Tensor, tf.Tensor]:
            known = tf.cast(clip["label"] != UNLABELLED, tf.float32)
            weight = tf.math.divide_no_nan(known, tf.reduce_mean(known))
            label = tf.maximum(clip["label"], 0)
            if factors is not None:
                weight *= tf.gather(factors, label)
            return _inputs(clip), label, weight

        drawn = tf.data.Dataset.from_generator(
            rows, output_signature=tf.TensorSpec((None,), tf.int64)
        )
        return self.at(drawn).map(weighted).prefetch(tf.data.AUTOTUNE)


def training_clips(
    records: Path,
    splits: Sequence[str],
    description: Description,
    *,
    neighbors: int = 0,
    source: NeighborSource = "packed",
    agreeing: bool = False,
    label_share: float = 1.0,
    seed: int = 0,
    embeddings: Path | None = None,
) -> TrainingClips:
    """Opens clips for training, having read every record once to check it.

    Features and official training records are read into memory, every clip once; the features of
    indexed ones stay on disk.

    Args:
        records: Folder of features, or of training records where `neighbors` is above 0.
        splits: Some of `train`, `val`, `test`.
        description: Of the features.
        neighbors: How many neighbours to read; the clip itself, with weight 0, stands in for
            missing ones.
        source: `packed` fetches the features of neighbours, `batch` and `bank` their rows.
        agreeing: Whether edges between clips with known, different labels are left out.
        label_share: Share of the labels that training may know, above 0, at most 1: as many of
            each class, rounded up. The other clips count as unlabelled.
        seed: Of the draw of these labels.
        embeddings: Records of embeddings, joined by id.

    Returns:
        The clips. Those without a label stand among them in indexed records, with neighbours of
        their own, and in official ones where they are neighbours, without.

    Raises:
        InputError: If a record is damaged, no clip has a label, or an embedding is missing or of
            another width.
    """
    opens = open_indexed if is_indexed(_paths(records, splits)) else open_official
    shape, width = description.logmel_shape, None if agreeing else neighbors
    clips = opens(records, splits, shape, neighbors=width)
    _check_labelled(records, splits, len(clips.labelled))
    clips = replace(clips, labels=known_labels(clips.ids, clips.labels, label_share, seed))
    if agreeing:
        clips = clips.keeping(~_disagree(clips.labels, clips.rows), neighbors)
    at = clips.linked if neighbors and source != "packed" else clips.at
    join = _joiner(clips.ids, embeddings, splits)

    def prepared(rows: tf.data.Dataset) -> tf.data.Dataset:
        return at(rows).map(join)

    return TrainingClips(clips.ids, clips.labels, prepared, clips.rows[:, 1:], clips.weights)


def _paths(records: Path, splits: Sequence[str]) -> list[Path]:
    return [path for split in splits for path in shard_paths(records, split)]


def _check_labelled(records: Path, splits: Sequence[str], clips: int) -> None:
    if not clips:
        raise InputError(f"{records}: no clip of {', '.join(splits)} has a label.")


def _disagree(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which neighbours, of shape `(clips, n)`, are known to have another label."""
    own, others = labels[rows[:, :1]], labels[rows[:, 1:]]
    return (own != UNLABELLED) & (others != UNLABELLED) & (own != others)


def _inputs(clip: Inputs) -> Inputs:
    return {name: value for name, value in clip.items() if name not in ("id", "label")}


def _joiner(
    ids: Sequence[str], embeddings: Path | None, splits: Sequence[str]
) -> Callable[[Inputs], Inputs]:
    """Makes the function that adds `embedding` to clips, by id."""
    if embeddings is None:
        return dict
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
