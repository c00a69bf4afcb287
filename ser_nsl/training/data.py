"""The clips that training and evaluation read, with their neighbours or embeddings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description
from ser_nsl.audio.records import parsed, read_embeddings, read_labels, read_logmels
from ser_nsl.audio.shards import copy_names, shard_paths
from ser_nsl.corpora.labels import known_labels
from ser_nsl.errors import InputError, refuse
from ser_nsl.graph.indexed import is_indexed, open_indexed
from ser_nsl.graph.official import open_official
from ser_nsl.training.orders import OnePass, epoch_order, neighborhood_order, shuffled
from ser_nsl.training.settings import NeighborSource

Inputs = dict[str, tf.Tensor]

_COPIES = 1  # third number of the seeds that draw copies
_GROUP = 4  # clips per neighbourhood, so that a batch of 16 holds four neighbourhoods


class LabelledClips(NamedTuple):
    """Clips to score.

    Attributes:
        dataset: Elements `(inputs, label)`. Inputs are `logmel`, float32, shape `(frames, mels)`,
            in dB, and `embedding`, float32, shape `(width,)`, where embeddings are given.
        labels: Labels by id, in the dataset's order.

    Example:
        >>> clips = labelled_clips(Path("features"), ["test"], Description.load("features"))
        >>> list(clips.labels.items())[:2]
        [('03-01-01-01-01-01-01', 1), ('03-01-04-01-01-01-01', 2)]
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
    """Opens the labelled clips of some splits, after reading every record once to check it.

    Args:
        records: Folder of feature records.
        splits: Splits to open, of `train`, `val` and `test`.
        description: Description of the features.
        embeddings: Folder of embeddings to join to the clips by id.

    Returns:
        The clips in the order of the records.

    Raises:
        InputError: If a record is damaged, no clip has a label, a label or a number is out of its
            range, or an embedding is missing.

    Example:
        >>> description = Description.load("features")
        >>> clips = labelled_clips(Path("features"), ["val"], description)
        >>> inputs, labels = next(iter(clips.dataset.batch(8)))
        >>> len(clips.labels), inputs["logmel"].shape  # clips x frames x Mel bands
        (12, TensorShape([8, 36, 64]))
    """
    labels = read_labels(records, *splits)
    labels = {key: label for key, label in labels.items() if label != UNLABELLED}
    _check_labels(records, splits, np.array([*labels.values()]), description)
    join = _joiner(list(labels), embeddings, splits)
    paths = _paths(records, splits)
    for _ in read_logmels(paths, description.logmel_shape):
        pass  # a fault that TensorFlow finds in a step later has no name
    clips = parsed(paths, description.logmel_shape)
    clips = clips.filter(lambda clip: clip["label"] != UNLABELLED)
    return LabelledClips(clips.map(lambda clip: (_inputs(join(clip)), clip["label"])), labels)


@dataclass(frozen=True)
class TrainingClips:
    """Clips that can be fetched in any order.

    Attributes:
        ids: Ids of all clips, labelled or not.
        labels: Labels, int64, shape `(clips,)`; -1 where training may not know it.
        at: Function from batches of rows, int64, to batches of inputs.
        neighbors: Rows of each clip's neighbours, int, shape `(clips, n)`; the clip's own in place
            of missing ones.
        weights: Weights of these edges, float32, shape `(clips, n)`; 0 for missing ones.
        copies: Log Mel of damaged copies, float32, each of shape `(clips, frames, mels)`.

    Example:
        >>> description = Description.load("features")
        >>> clips = training_clips(Path("training"), ["train"], description, neighbors=2)
        >>> len(clips.ids), clips.neighbors.shape
        (12, (12, 2))
    """

    ids: Sequence[str]
    labels: np.ndarray
    at: Callable[[tf.data.Dataset], tf.data.Dataset]
    neighbors: np.ndarray
    weights: np.ndarray
    copies: Sequence[np.ndarray] = ()

    @property
    def labelled(self) -> np.ndarray:
        """Rows of the labelled clips, int64."""
        return np.flatnonzero(self.labels != UNLABELLED)

    @property
    def unlabelled(self) -> np.ndarray:
        """Rows of the unlabelled clips, int64."""
        return np.flatnonzero(self.labels == UNLABELLED)

    def neighborhoods(self) -> OnePass:
        """Returns a function that draws orders of all clips in which neighbours share batches."""
        return lambda random: neighborhood_order(self.neighbors, self.weights, random, group=_GROUP)

    def inputs(self, rows: np.ndarray, batch_size: int) -> tf.data.Dataset:
        """Returns batches of the inputs of some clips.

        Args:
            rows: Rows of the clips, int64, in their order.
            batch_size: Clips per batch.

        Returns:
            Dictionaries of inputs, batched.
        """
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
        """Returns batches for training; every iteration over them is the next epoch.

        In each epoch a clip is itself or one of its copies, as seed, epoch and row decide.
        Neighbours that are packed with it are always clean.

        Args:
            one_pass: Draws the order of a pass over the clips; by default
                `shuffled(clips.labelled)`. For the source `batch` give `clips.neighborhoods()`.
            batch_size: Clips per batch; the last one of a pass may have fewer.
            seed: Seed of the orders.
            steps: Batches per epoch; 0 for one pass.
            class_weights: Weights of the classes, float32, shape `(classes,)`; None for all 1.
            first_epoch: Number of the first epoch, from 0.

        Returns:
            Elements `(inputs, label, weight)`. Unlabelled clips have the label 0 and the weight 0;
            the weights of the others are larger by as much, so that a mean over the batch is the
            mean over its labelled clips.
        """
        factors = None if class_weights is None else tf.constant(class_weights, tf.float32)
        if one_pass is None:
            one_pass = shuffled(self.labelled)
        clips = len(one_pass(np.random.default_rng(seed)))
        length = steps * batch_size or clips

        def rows() -> tf.data.Dataset:
            epochs = count(first_epoch)

            def drawn() -> Iterator[tuple[np.ndarray, np.ndarray]]:
                epoch = next(epochs)
                order = epoch_order(one_pass, epoch, clips=clips, length=length, seed=seed)
                draw = np.random.default_rng((seed, epoch, _COPIES))
                copies = draw.integers(1 + len(self.copies), size=len(self.ids))[order]
                for start in range(0, length, batch_size):
                    part = slice(start, start + batch_size)
                    yield order[part], copies[part]

            batch = tf.TensorSpec((None,), tf.int64)
            return tf.data.Dataset.from_generator(drawn, output_signature=(batch, batch))

        def weighted(clip: Inputs) -> tuple[Inputs, tf.Tensor, tf.Tensor]:
            known = tf.cast(clip["label"] != UNLABELLED, tf.float32)
            weight = tf.math.divide_no_nan(known, tf.reduce_mean(known))
            label = tf.maximum(clip["label"], 0)
            if factors is not None:
                weight *= tf.gather(factors, label)
            return _inputs(clip), label, weight

        fetched = self.at(rows().map(lambda row, _: row))
        if self.copies:
            fetched = tf.data.Dataset.zip((fetched, rows())).map(self._exchanged)
        return fetched.map(weighted).prefetch(tf.data.AUTOTUNE)

    def _exchanged(self, clip: Inputs, drawn: tuple[tf.Tensor, tf.Tensor]) -> Inputs:
        """Puts copies in the place of clips: number 1 is the first copy, 0 the clip itself."""

        def exchange(logmel: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
            exchanged = logmel.copy()
            for place in np.flatnonzero(numbers):
                exchanged[place] = self.copies[numbers[place] - 1][rows[place]]
            return exchanged

        given = [clip["logmel"], *drawn]
        logmel = tf.numpy_function(exchange, given, tf.float32, stateful=False)
        return clip | {"logmel": tf.ensure_shape(logmel, clip["logmel"].shape)}


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
    unlabelled: bool = False,
    copies: Path | None = None,
) -> TrainingClips:
    """Opens clips for training, after reading every record once to check it.

    Features and official training records are read into memory, every clip once; the features of
    indexed records stay on disk.

    Args:
        records: Folder of feature records, or of training records where `neighbors` is above 0.
        splits: Splits to open, of `train`, `val` and `test`.
        description: Description of the features.
        neighbors: Number of neighbours per clip; in place of missing ones stands the clip itself,
            with weight 0.
        source: `packed` fetches the features of neighbours, `batch` and `bank` only their rows.
        agreeing: Whether to leave out edges between clips with known, different labels.
        label_share: Share of the labels that training may know, above 0, at most 1: the same share
            of each class, rounded up. The other clips count as unlabelled.
        seed: Seed of the choice of these labels.
        embeddings: Folder of embeddings to join to the clips by id.
        unlabelled: Whether to open clips without a label too, where `neighbors` is 0.
        copies: Folder of features whose damaged copies, if any, are read into memory.

    Returns:
        The clips. Indexed records hold unlabelled clips too, with neighbours of their own; official
        ones hold them only as neighbours of labelled clips.

    Raises:
        InputError: If a record is damaged, no clip has a label, a label or a number is out of its
            range, or an embedding is missing.

    Example:
        >>> description = Description.load("features")
        >>> clips = training_clips(Path("training"), ["train"], description, neighbors=2)
        >>> inputs, labels, weights = next(iter(clips.batches(batch_size=4)))
        >>> sorted(inputs)
        ['NL_nbr_0_logmel', 'NL_nbr_0_weight', 'NL_nbr_1_logmel', 'NL_nbr_1_weight', 'logmel']
    """
    opens = open_indexed if is_indexed(_paths(records, splits)) else open_official
    shape, width = description.logmel_shape, None if agreeing or unlabelled else neighbors
    clips = opens(records, splits, shape, neighbors=width)
    if description.classes:
        _check_labels(records, splits, clips.labels[clips.labelled], description)
    clips = replace(clips, labels=known_labels(clips.ids, clips.labels, label_share, seed))
    if agreeing:
        clips = clips.keeping(~_disagree(clips.labels, clips.rows), neighbors)
    at = clips.linked if neighbors and source != "packed" else clips.at
    join = _joiner(clips.ids, embeddings, splits)

    def prepared(rows: tf.data.Dataset) -> tf.data.Dataset:
        return at(rows).map(join)

    return TrainingClips(
        clips.ids,
        clips.labels,
        prepared,
        clips.rows[:, 1:],
        clips.weights,
        _read_copies(copies, clips.ids, shape) if copies else (),
    )


def _read_copies(
    folder: Path, ids: Sequence[str], logmel_shape: tuple[int, int]
) -> list[np.ndarray]:
    """Reads all damaged copies of some clips, each in the order of the ids."""
    row_of = {utterance_id: row for row, utterance_id in enumerate(ids)}
    copies = []
    for name in copy_names(folder):
        copy, missing = np.empty((len(ids), *logmel_shape), np.float32), set(ids)
        for batch, logmels in read_logmels(shard_paths(folder, name), logmel_shape):
            for utterance_id, logmel in zip(batch.ids, logmels, strict=True):
                if utterance_id in row_of:
                    copy[row_of[utterance_id]] = logmel
                    missing.discard(utterance_id)
        refuse(sorted(missing), f"{folder}: {name} lacks clips", "Extract the features again.")
        copies.append(copy)
    return copies


def _paths(records: Path, splits: Sequence[str]) -> list[Path]:
    return [path for split in splits for path in shard_paths(records, split)]


def _check_labels(
    records: Path, splits: Sequence[str], labels: np.ndarray, description: Description
) -> None:
    """Refuses clips of which none has a label, or one that has another than the classes."""
    if not len(labels):
        raise InputError(f"{records}: no clip of {', '.join(splits)} has a label.")
    if labels.max() >= len(description.classes):
        raise InputError(
            f"{records}: labels must be below the number of classes, {len(description.classes)}; "
            f"received {labels.max()}. Make the records again."
        )


def _disagree(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns which neighbours, shape `(clips, n)`, are known to have another label."""
    own, others = labels[rows[:, :1]], labels[rows[:, 1:]]
    return (own != UNLABELLED) & (others != UNLABELLED) & (own != others)


def _inputs(clip: Inputs) -> Inputs:
    return {name: value for name, value in clip.items() if name not in ("id", "label")}


def _joiner(
    ids: Sequence[str], embeddings: Path | None, splits: Sequence[str]
) -> Callable[[Inputs], Inputs]:
    """Returns a function that adds `embedding` to clips, by id."""
    if embeddings is None:
        return dict
    vectors = read_embeddings(embeddings, splits)
    missing = [utterance_id for utterance_id in ids if utterance_id not in vectors]
    rule = f"{embeddings}: of {len(ids)} clips, some have no embedding"
    refuse(missing, rule, "Extract embeddings from the same manifest.")
    # As a tensor, that batches share; NumPy's array would be copied into each of them.
    matrix = tf.constant(np.stack([vectors[utterance_id] for utterance_id in ids]))
    rows = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(ids, tf.range(len(ids), dtype=tf.int64)), -1
    )
    return lambda clip: clip | {"embedding": tf.gather(matrix, rows.lookup(clip["id"]))}
