"""Reads records in batches, and refuses damaged files, duplicate ids and impossible numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ser_nsl.audio.examples import LARGEST
from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.pipeline.places import RemotePath, place, refuse_server

_FRAME_BYTES = 16  # around each record: its length and two checksums
_RECORDS = 64  # per batch; with 256, features were read at two thirds of the speed


class Batch(NamedTuple):
    """Consecutive records of one file.

    Attributes:
        path: The file.
        ids: Ids of the records.
        records: The serialised examples, shape `(records,)`.
        features: The features that were asked for, by name.

    Example:
        >>> from ser_nsl.audio import shard_paths
        >>> shards = shard_paths(Path("features"), "train")
        >>> batch = next(read_batches(shards, {}))
        >>> batch.check(np.array([len(name) == 20 for name in batch.ids]), "ids have 20 letters.")
    """

    path: Path
    ids: list[str]
    records: np.ndarray
    features: Mapping[str, tf.Tensor | tf.RaggedTensor]

    def check(self, holds: np.ndarray, rule: str) -> None:
        """Refuses records that break a rule.

        Args:
            holds: bool, shape `(records,)`.
            rule: The rule and what to do about a record that breaks it.

        Raises:
            InputError: If it does not hold for all; the message names the first three ids.
        """
        faulty = [name for name, good in zip(self.ids, holds, strict=True) if not good]
        if faulty:
            raise InputError(
                f"{self.path}: {rule} {len(faulty)} of {len(self.ids)} records break this rule "
                f"(first: {', '.join(faulty[:3])})."
            )

    def check_values(self, values: np.ndarray, name: str) -> None:
        """Refuses records with a number that is NaN, infinite or out of all proportion.

        Args:
            values: float, shape `(records, numbers)`.
            name: What the numbers are.

        Raises:
            InputError: If a number is not below `LARGEST`, above or below 0.
        """
        rule = f"every number of {name} must be finite and below {LARGEST:,.0f}; make them again."
        self.check((np.abs(values) < LARGEST).all(axis=1), rule)


def read_batches(
    paths: Iterable[Path],
    schema: Mapping[str, tf.io.FixedLenFeature | tf.io.RaggedFeature],
    *,
    id_feature: str = "id",
    size: int = _RECORDS,
) -> Iterator[Batch]:
    """Reads records in batches, and refuses damaged files and duplicate ids.

    Args:
        paths: TFRecord files.
        schema: Features to parse besides the id, as `tf.io.parse_example` takes them.
        id_feature: Name of the feature with the id.
        size: Number of records that are parsed at a time.

    Yields:
        The records, in order.

    Raises:
        InputError: If a file is missing, cut or damaged, a feature has another type, or an id is
            missing or a duplicate. Of several ids in a record the first counts, as in `nsl.tools`.

    Example:
        >>> from ser_nsl.audio import shard_paths
        >>> schema = {"label": tf.io.FixedLenFeature([], tf.int64)}
        >>> batch = next(read_batches(shard_paths(Path("features"), "train"), schema))
        >>> batch.ids
        ['03-01-01-01-01-01-03', '03-01-04-01-01-01-03', '03-01-05-01-01-01-03']
        >>> batch.features["label"].numpy()
        array([1, 2, 0])
    """
    seen: set[str] = set()
    schema = {id_feature: tf.io.RaggedFeature(tf.string), **schema}
    for path in map(place, paths):
        left = 0
        try:
            left = tf.io.gfile.stat(str(path)).length
            for records in tf.data.TFRecordDataset(str(path)).batch(size).prefetch(1):
                features = tf.io.parse_example(records, schema)
                first = [b"".join(names[:1]) for names in features[id_feature].to_list()]
                ids = texts(path, first)  # of several ids the first counts
                left -= sum(_FRAME_BYTES + len(record) for record in records.numpy())
                for utterance_id in ids:
                    if not utterance_id or utterance_id in seen:
                        raise InputError(
                            f"{path}: the id {utterance_id!r} is missing or a duplicate; make the "
                            "records again."
                        )
                    seen.add(utterance_id)
                yield Batch(path, ids, records.numpy(), features)
        except tf.errors.NotFoundError as error:
            raise InputError(f"{path}: does not exist; check the path.") from error
        except (tf.errors.OpError, UnicodeDecodeError) as error:  # the latter in TensorFlow's words
            kinds = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)
            if isinstance(path, RemotePath) and not isinstance(error, kinds):
                refuse_server(path, error)
            feature = re.search(
                r"Key: (\w+), .*Expected type: (\w+), Actual type: (\w+)", str(error)
            )
            if feature:
                raise InputError(
                    f"{path}: the feature {feature[1]!r} must be of type {feature[2]}; received "
                    f"{feature[3]}. Write the records again with that type."
                ) from error
            raise _damaged(path, len(seen)) from error
        if left:  # TensorFlow takes an end within the length of a record for the end of the file
            raise _damaged(path, len(seen))


def _damaged(path: Path, clips: int) -> InputError:
    return InputError(f"{path}: is cut off or damaged after {clips} clips or more; make it again.")


def texts(path: Path, values: Iterable[bytes]) -> list[str]:
    """Decodes ids.

    Args:
        path: Their file, for the error.
        values: The ids.

    Returns:
        The ids as text.

    Raises:
        InputError: If one is not UTF-8.
    """
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: ids must be UTF-8; received {error.object!r}. Make the records again."
        ) from error


def read_examples(paths: Iterable[Path]) -> Iterator[tf.train.Example]:
    """Reads whole examples, one by one, with the checks of `read_batches`.

    Args:
        paths: TFRecord files.

    Yields:
        Examples with a feature `id`, in order.

    Raises:
        InputError: If a file is cut or damaged, or an id is missing or a duplicate.

    Example:
        >>> from ser_nsl.audio import shard_paths
        >>> examples = read_examples(shard_paths(Path("embeddings"), "train"))
        >>> len(next(examples).features.feature["embedding"].float_list.value)
        60
    """
    for batch in read_batches(paths, {}):
        yield from map(tf.train.Example.FromString, batch.records)
