"""Folders of records on any file system that Beam knows."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from google.protobuf.message import DecodeError

from ser_nsl.audio.examples import example_id
from ser_nsl.audio.features import Description
from ser_nsl.beam.dead_letters import BadRecordError
from ser_nsl.errors import InputError
from ser_nsl.graph.vectors import UNFIT

DESCRIPTION_NAME = "description.json"
_SUFFIX = ".tfrecord"
_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4  # of a record: length, checksum, data, checksum
_FIRST_RECORDS = 100


def find_shards(folder: str, splits: Sequence[str]) -> list[FileMetadata]:
    """Finds the records of splits.

    Args:
        folder: Folder on any file system.
        splits: Names of splits.

    Returns:
        Paths and sizes, in order.

    Raises:
        InputError: If a split has no records, or its set of shards is not complete.
    """
    found = []
    for split in splits:
        files = sorted(_match(folder, split), key=lambda file: file.path)
        names = [FileSystems.split(file.path)[1] for file in files]
        complete = [f"{split}-{i:05d}-of-{len(files):05d}{_SUFFIX}" for i in range(len(files))]
        if not files or names != complete:
            raise InputError(
                f"{folder}: the shards of {split!r} must be complete, {split}-00000-of-...."
                f"{_SUFFIX} and so on; received {len(files)} files. Check the path, or make the "
                "records again."
            )
        found += files
    return found


def _match(folder: str, split: str) -> list[FileMetadata]:
    (match,) = FileSystems.match([FileSystems.join(folder, f"{split}-*-of-*{_SUFFIX}")])
    return match.metadata_list


def first_records(file: FileMetadata) -> Iterator[tuple[int, tf.train.Example]]:
    """Reads up to a hundred records from the beginning of a file, leaving out damaged ones.

    Args:
        file: A TFRecord file.

    Yields:
        Bytes in the file, and the record.
    """
    with FileSystems.open(file.path) as opened:
        for _ in range(_FIRST_RECORDS):
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            opened.read(_CHECKSUM_BYTES)  # Beam compares it when it reads the file
            raw = opened.read(length)
            opened.read(_CHECKSUM_BYTES)
            if not raw:
                return
            try:
                example = tf.train.Example.FromString(raw)
            except DecodeError:
                continue
            yield length + _LENGTH_BYTES + 2 * _CHECKSUM_BYTES, example


def estimate_records(files: Sequence[FileMetadata]) -> int:
    """Estimates how many records files hold, from their sizes and the first records."""
    sizes = [size for size, _ in first_records(files[0])]
    total = sum(file.size_in_bytes for file in files)
    return round(total * len(sizes) / sum(sizes)) if sizes else 0


@beam.ptransform_fn
def read_records(pipeline: beam.Pipeline, files: Sequence[FileMetadata]) -> beam.PCollection:
    """Reads TFRecord files: pairs of path and serialised record."""
    paths = [file.path for file in files]
    return pipeline | beam.Create(paths) | beam.io.ReadAllFromTFRecord(with_filename=True)


def write_records(folder: str, split: str, shards: int) -> beam.PTransform:
    """Writes serialised records to `SPLIT-00000-of-00004.tfrecord`.

    Args:
        folder: Folder on any file system.
        split: First part of the file names.
        shards: Number of files; 0 leaves it to the runner.
    """
    prefix = FileSystems.join(folder, split)
    return beam.io.WriteToTFRecord(prefix, file_name_suffix=_SUFFIX, num_shards=shards)


def parse(path: str, raw: bytes) -> tuple[str, tf.train.Example]:
    """Parses a record and checks its id.

    Args:
        path: Its file, for the dead letter.
        raw: A serialised `tf.train.Example`.

    Returns:
        Its id, and the record.

    Raises:
        BadRecordError: If it is no such record, has no id, or one that a graph cannot hold.
    """
    digest = hashlib.blake2b(raw, digest_size=8).hexdigest()
    place = f"{path}, a record of {len(raw)} bytes, BLAKE2 {digest}"
    try:
        example = tf.train.Example.FromString(raw)
        utterance_id = example_id(example)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadRecordError(f"is no tf.train.Example ({error})", where=place) from error
    if not utterance_id:
        raise BadRecordError("has no id", where=place)
    if not UNFIT.isdisjoint(utterance_id):
        reason = "has a tab or line break in its id"
        raise BadRecordError(reason, utterance_id=utterance_id, where=path)
    return utterance_id, example


def remove_empty_splits(folder: str, splits: Sequence[str]) -> None:
    """Removes the shards of splits without records; on one machine, stages write none."""
    for split in splits:
        files = _match(folder, split)
        if files and not any(file.size_in_bytes for file in files):
            FileSystems.delete([file.path for file in files])


def read_description(features: str) -> tuple[Description, bytes]:
    """Reads the description of a folder of features.

    Args:
        features: Folder on any file system.

    Returns:
        The description, and the content of its file.

    Raises:
        InputError: If it is missing or of another form.
    """
    path = FileSystems.join(features, DESCRIPTION_NAME)
    if not FileSystems.exists(path):
        raise InputError(
            f"{features}: {DESCRIPTION_NAME} is missing, the folder is incomplete; make it again "
            "with ser-nsl extract-features or ser-nsl beam-graph."
        )
    with FileSystems.open(path) as file, tempfile.TemporaryDirectory() as folder:
        content = file.read()
        (Path(folder) / DESCRIPTION_NAME).write_bytes(content)
        return Description.load(Path(folder)), content
