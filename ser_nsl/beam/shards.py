"""Sharded records on any file system that Beam knows."""

import hashlib
from collections.abc import Iterator, Sequence

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from google.protobuf.message import DecodeError

from ser_nsl.beam.letters import BadRecordError
from ser_nsl.errors import InputError

_SUFFIX = ".tfrecord"
_LENGTH_BYTES, _CHECK_BYTES = 8, 4  # of a TFRecord: length, its check sum, data, their check sum
_FIRST_RECORDS = 100
_UNFIT = frozenset("\t\r\n")  # for an id in a line of a graph


def find_shards(folder: str, splits: Sequence[str]) -> list[FileMetadata]:
    """Finds the records of splits.

    Args:
        folder: On any file system.
        splits: Some of `train`, `val`, `test`.

    Returns:
        Paths and sizes, in order.

    Raises:
        InputError: If a split has no records, or its set of shards is not complete.
    """
    found = []
    for split in splits:
        pattern = FileSystems.join(folder, f"{split}-*-of-*{_SUFFIX}")
        (match,) = FileSystems.match([pattern])
        files = sorted(match.metadata_list, key=lambda file: file.path)
        names = [FileSystems.split(file.path)[1] for file in files]
        if not files or names != [
            f"{split}-{i:05d}-of-{len(files):05d}{_SUFFIX}" for i in range(len(files))
        ]:
            raise InputError(
                f"{folder}: the shards of {split!r} must be complete, {split}-00000-of-...."
                f"{_SUFFIX} and so on; received {len(files)} files. Check the path, or make the "
                "records again."
            )
        found += files
    return found


def first_records(file: FileMetadata) -> Iterator[tuple[int, tf.train.Example]]:
    """Reads the first records of a file that can be read, a hundred at most.

    Args:
        file: A TFRecord file.

    Yields:
        Bytes in the file, and the record.
    """
    with FileSystems.open(file.path) as opened:
        for _ in range(_FIRST_RECORDS):
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            opened.read(_CHECK_BYTES)  # Beam compares it when it reads the file
            raw = opened.read(length)
            opened.read(_CHECK_BYTES)
            if not raw:
                return
            try:
                yield length + _LENGTH_BYTES + 2 * _CHECK_BYTES, tf.train.Example.FromString(raw)
            except DecodeError:
                continue


def estimate_records(files: Sequence[FileMetadata]) -> int:
    """Estimates how many records files hold, from their sizes and the first records."""
    sizes = [size for size, _ in first_records(files[0])]
    total = sum(file.size_in_bytes for file in files)
    return round(total * len(sizes) / sum(sizes)) if sizes else 0


class ReadRecords(beam.PTransform):
    """Reads TFRecord files: pairs of path and record."""

    def __init__(self, files: Sequence[FileMetadata]) -> None:
        """Sets what to read.

        Args:
            files: The files.
        """
        super().__init__()
        self._paths = [file.path for file in files]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[tuple[str, bytes]]:
        """Takes the pipeline."""
        return begin | beam.Create(self._paths) | beam.io.ReadAllFromTFRecord(with_filename=True)


class WriteRecords(beam.PTransform):
    """Writes the second of pairs of id and record to `{split}-00000-of-00004.tfrecord`."""

    def __init__(self, folder: str, split: str, shards: int) -> None:
        """Sets where to.

        Args:
            folder: On any file system.
            split: First part of the names.
            shards: Number of files; 0 leaves it to the runner.
        """
        super().__init__()
        self._prefix, self._shards = FileSystems.join(folder, split), shards

    def expand(self, records: beam.PCollection[tuple[str, bytes]]) -> beam.PCollection:
        """Takes the records."""
        return (
            records
            | beam.Values()
            | beam.io.WriteToTFRecord(
                self._prefix, file_name_suffix=_SUFFIX, num_shards=self._shards
            )
        )


def parse(path: str, raw: bytes) -> tuple[str, tf.train.Example]:
    """Reads a record as far as its id.

    Args:
        path: Its file, for the dead letter.
        raw: A serialised `tf.train.Example`.

    Returns:
        Its id, and the record.

    Raises:
        BadRecordError: If it is no such record, or has no id, or one unfit for a graph.
    """
    digest = hashlib.blake2b(raw, digest_size=8).hexdigest()
    nameless = f"{path}, a record of {len(raw)} bytes, BLAKE2 {digest}"
    try:
        example = tf.train.Example.FromString(raw)
        values = example.features.feature["id"].bytes_list.value
        utterance_id = values[0].decode() if values else ""
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRecordError(f"is no tf.train.Example ({error})", where=nameless) from error
    if not utterance_id:
        raise BadRecordError("has no id", where=nameless)
    if not _UNFIT.isdisjoint(utterance_id):
        raise BadRecordError(
            "has a tab or line break in its id", utterance_id=utterance_id, where=path
        )
    return utterance_id, example


def remove_empty_splits(folder: str, splits: Sequence[str]) -> None:
    """Removes the shards of splits in which there is nothing, as the stages write none."""
    for split in splits:
        pattern = FileSystems.join(folder, f"{split}-*-of-*{_SUFFIX}")
        (match,) = FileSystems.match([pattern])
        if match.metadata_list and not any(file.size_in_bytes for file in match.metadata_list):
            FileSystems.delete([file.path for file in match.metadata_list])
