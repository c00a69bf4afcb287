"""Embeddings: read, and checked one by one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.beam.letters import LETTERS, BadRecordError, count, with_letters
from ser_nsl.beam.shards import ReadRecords, first_records, parse
from ser_nsl.errors import InputError

_STAGE = "reading embeddings"


class Kind(NamedTuple):
    """What all embeddings of a graph have in common.

    Attributes:
        width: How many numbers.
        upstream: What made them; empty where the records do not tell.
    """

    width: int
    upstream: str


def read_kind(files: Sequence[FileMetadata]) -> Kind:
    """Looks up of which kind most of the first embeddings are.

    Args:
        files: Embeddings.

    Returns:
        The kind that all others must have.

    Raises:
        InputError: If there is none at the beginning of any file.
    """
    for file in files:
        kinds = Counter(_kind_of(example) for _, example in first_records(file))
        kinds.pop(Kind(0, ""), None)
        if kinds:
            return kinds.most_common(1)[0][0]
    raise InputError(
        f"{files[0].path}: holds no embeddings, nor do {len(files) - 1} more files. Embed some "
        "clips."
    )


def _kind_of(example: tf.train.Example) -> Kind:
    feature = example.features.feature
    upstream = b"".join(feature["upstream"].bytes_list.value).decode(errors="replace")
    return Kind(len(feature["embedding"].float_list.value), upstream)


class ReadVectors(beam.PTransform):
    """Reads embeddings: pairs of id and float32 bytes, and dead letters."""

    def __init__(self, files: Sequence[FileMetadata], kind: Kind) -> None:
        """Sets what to read.

        Args:
            files: Embeddings.
            kind: What every one must be.
        """
        super().__init__()
        self._files, self._kind = files, kind

    @no_annotations
    def expand(self, begin: beam.pvalue.PBegin) -> tuple[beam.PCollection, beam.PCollection]:
        """Takes the pipeline; returns the vectors and the dead letters."""
        made = (
            begin
            | ReadRecords(self._files)
            | beam.ParDo(_Check(self._kind)).with_outputs(LETTERS, main="vectors")
        )
        return made["vectors"], made[LETTERS]


class _Check(beam.DoFn):
    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self._kind = kind

    def process(self, record: tuple[str, bytes]) -> Iterator[tuple[str, bytes]]:
        yield from with_letters(_STAGE, self._check(*record))

    def _check(self, path: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
        utterance_id, example = parse(path, raw)
        kind = _kind_of(example)
        vector = np.array(example.features.feature["embedding"].float_list.value, np.float32)
        reason = None
        if kind.width != self._kind.width:
            reason = f"has {kind.width} numbers, not {self._kind.width} as the others"
        elif kind.upstream != self._kind.upstream:
            reason = f"was made by {kind.upstream or 'an unknown upstream'}, the others by " + (
                self._kind.upstream or "one that is not told"
            )
        elif not np.isfinite(vector).all():
            reason = "holds NaN or infinity"
        elif not vector.any():
            reason = "is all zero, so it has no direction"
        if reason:
            raise BadRecordError(reason, utterance_id=utterance_id, where=path)
        count("embeddings")
        yield utterance_id, vector.tobytes()
