"""Embeddings: read, and checked one by one."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata

from ser_nsl.beam.dead_letters import check_record, count, map_or_dead_letter
from ser_nsl.beam.record_folders import first_records, parse, read_records
from ser_nsl.errors import InputError

_STEP = "reading embeddings"


class Kind(NamedTuple):
    """What all embeddings of a graph have in common.

    Attributes:
        width: How many numbers an embedding has.
        upstream: Upstream and layer that made them; empty where the records do not say.
    """

    width: int
    upstream: str


def read_kind(files: Sequence[FileMetadata]) -> Kind:
    """Finds the most frequent kind among the first embeddings.

    Args:
        files: Embeddings.

    Returns:
        The kind that all others must have.

    Raises:
        InputError: If no file begins with embeddings.
    """
    for file in files:
        kinds = Counter(_kind_of(example) for _, example in first_records(file))
        kinds.pop(Kind(0, ""), None)
        if kinds:
            return kinds.most_common(1)[0][0]
    raise InputError(
        f"{files[0].path}: has no embeddings, nor have the other {len(files) - 1} files; give a "
        "folder that ser-nsl extract-embeddings made."
    )


def _kind_of(example: tf.train.Example) -> Kind:
    feature = example.features.feature
    upstream = b"".join(feature["upstream"].bytes_list.value).decode(errors="replace")
    return Kind(len(feature["embedding"].float_list.value), upstream)


@beam.ptransform_fn
def read_vectors(
    pipeline: beam.Pipeline, files: Sequence[FileMetadata], kind: Kind
) -> tuple[beam.PCollection, beam.PCollection]:
    """Reads embeddings.

    Args:
        pipeline: The pipeline.
        files: Embeddings.
        kind: Kind that each must have.

    Returns:
        Pairs of id and float32 bytes, and dead letters.
    """
    check = partial(_check, kind=kind)
    return (
        pipeline
        | "read" >> read_records(files)
        | "check" >> map_or_dead_letter(_STEP, check, tuple[str, bytes])
    )


def _check(record: tuple[str, bytes], kind: Kind) -> tuple[str, bytes]:
    path, raw = record
    utterance_id, example = parse(path, raw)
    width, upstream = _kind_of(example)
    vector = np.array(example.features.feature["embedding"].float_list.value, np.float32)
    made_by, others_by = (name or "an unknown upstream" for name in (upstream, kind.upstream))
    check_record(
        utterance_id,
        path,
        (width == kind.width, f"has {width} numbers, not {kind.width} as the others"),
        (made_by == others_by, f"was made by {made_by}, the others by {others_by}"),
        (bool(np.isfinite(vector).all()), "holds NaN or infinity"),
        (bool(vector.any()), "is all zero, so it has no direction"),
    )
    count("embeddings")
    return utterance_id, vector.tobytes()
