"""The clips of a manifest, read line by line, and what must be known about all of them first."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from ser_nsl.beam.dead_letters import (
    BadRecordError,
    check_record,
    dead_letter,
    flat_map_with_dead_letters,
    map_or_dead_letter,
)
from ser_nsl.corpora.manifest import COLUMNS, SPLITS, check_longest
from ser_nsl.errors import InputError

_STEP = "reading the manifest"


class Clip(NamedTuple):
    """A row of a manifest.

    Attributes:
        utterance_id: Id of the clip.
        path: Path relative to the audio root.
        speaker: Empty where unknown.
        emotion: Empty for a clip without a label.
        split: `train`, `val` or `test`.
        seconds: Length of the clip.
    """

    utterance_id: str
    path: str
    speaker: str
    emotion: str
    split: str
    seconds: float


@dataclass(frozen=True)
class CorpusSummary:
    """What all clips of a manifest have in common.

    Attributes:
        emotions: All emotions.
        training_emotions: The emotions with clips in the training split.
        longest_seconds: Length of the longest clip of the training split.
        training_clips: Number of clips of the training split.
        training_seconds: Length of all of them.
    """

    emotions: frozenset[str] = frozenset()
    training_emotions: frozenset[str] = frozenset()
    longest_seconds: float = 0.0
    training_clips: int = 0
    training_seconds: float = 0.0

    @classmethod
    def of_clip(cls, clip: Clip) -> "CorpusSummary":
        """The summary of a single clip."""
        emotions = frozenset({clip.emotion} - {""})
        if clip.split != "train":
            return cls(emotions)
        return cls(emotions, emotions, clip.seconds, 1, clip.seconds)

    def __add__(self, other: "CorpusSummary") -> "CorpusSummary":
        return CorpusSummary(
            self.emotions | other.emotions,
            self.training_emotions | other.training_emotions,
            max(self.longest_seconds, other.longest_seconds),
            self.training_clips + other.training_clips,
            self.training_seconds + other.training_seconds,
        )

    def longest(self) -> float:
        """Seconds of the longest training clip.

        Raises:
            InputError: If it would stretch all others.
        """
        name = "manifest: the longest training clip"
        check_longest(self.longest_seconds, self.training_clips, self.training_seconds, name)
        return self.longest_seconds

    def classes(self) -> tuple[str, ...]:
        """The emotions in the order of the labels.

        Raises:
            InputError: If one has no clip in the training split, or there is none.
        """
        missing = sorted(self.emotions - self.training_emotions)
        if missing or not self.training_emotions:
            raise InputError(
                "manifest: there must be a class, and every class needs clips in the training "
                f"split; received none in {', '.join(missing) or 'any'}. Split the corpus again."
            )
        return tuple(sorted(self.emotions))


def read_columns(pattern: str) -> tuple[str, ...]:
    """Reads the names of a manifest's columns.

    Args:
        pattern: The CSV file, or a pattern of several with the same columns.

    Returns:
        The names in their order.

    Raises:
        InputError: If there is no file, a column is missing, or files differ in their columns.
    """
    (match,) = FileSystems.match([pattern])
    headers = set()
    for found in match.metadata_list:
        with FileSystems.open(found.path) as file:
            headers.add(file.readline().decode("utf-8-sig").rstrip("\r\n"))
    columns = [tuple(next(csv.reader([header]))) for header in headers if header]
    if len(columns) != 1 or not set(COLUMNS) <= set(columns[0]):
        raise InputError(
            f"{pattern}: must be one or more CSV files that begin with the same header, with the "
            f"columns {', '.join(COLUMNS)}; received {len(match.metadata_list)} files and "
            f"{sorted(headers)}. Make them with ser-nsl prepare-corpus."
        )
    return columns[0]


@beam.ptransform_fn
def read_manifest(
    pipeline: beam.Pipeline, pattern: str, columns: Sequence[str]
) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
    """Reads a manifest.

    Args:
        pipeline: The pipeline.
        pattern: The CSV file, or a pattern of several.
        columns: Names of their columns.

    Returns:
        The clips, one `CorpusSummary`, and dead letters.
    """
    rows, unreadable = (
        pipeline
        | beam.io.ReadFromText(pattern, skip_header_lines=1)
        | "parse" >> map_or_dead_letter(_STEP, partial(_parse, columns=columns), Clip)
    )
    clips, duplicates = (
        rows
        | beam.Map(lambda clip: (clip.utterance_id, clip))
        | "group by id" >> beam.GroupByKey()  # it also spreads the work over all workers
        | "without duplicates" >> flat_map_with_dead_letters(_without_duplicates, Clip)
    )
    _ = (
        clips
        | beam.Filter(lambda clip: clip.speaker)
        | "splits of speakers" >> beam.Map(lambda clip: (clip.speaker, clip.split))
        | beam.Distinct()
        | "group by speaker" >> beam.GroupByKey()
        | beam.MapTuple(_check_speaker)
    )
    summary = (
        clips
        | "summary of each" >> beam.Map(CorpusSummary.of_clip)
        | beam.CombineGlobally(lambda summaries: sum(summaries, CorpusSummary()))
    )
    return clips, summary, (unreadable, duplicates) | beam.Flatten()


def _parse(line: str, columns: Sequence[str]) -> Clip:
    fields = next(csv.reader([line]), [])
    where = f"line {line!r}"
    if len(fields) != len(columns):
        raise BadRecordError(f"has {len(fields)} fields, not {len(columns)}", where=where)
    row = dict(zip(columns, fields, strict=True))
    utterance_id, duration = row["utterance_id"], row["duration_seconds"]
    try:
        seconds = float(duration)
    except ValueError:
        seconds = math.nan
    duration_rule = f"duration_seconds must be a positive number; received {duration!r}"
    check_record(
        utterance_id,
        where,
        (utterance_id != "" and "\t" not in utterance_id, "its id is empty or holds a tab"),
        (row["split"] in SPLITS, f"its split must be one of {SPLITS}"),
        (0 < seconds < math.inf, duration_rule),
    )
    return Clip(utterance_id, row["path"], row["speaker"], row["emotion"], row["split"], seconds)


def _without_duplicates(group: tuple[str, Iterable[Clip]]) -> Iterator[Any]:
    utterance_id, clips = group
    clips = list(clips)
    if len(clips) == 1:
        yield clips[0]
    else:
        reason = f"its id is on {len(clips)} lines"
        yield dead_letter(_STEP, BadRecordError(reason, utterance_id=utterance_id))


def _check_speaker(speaker: str, splits: Iterable[str]) -> None:
    splits = sorted(splits)
    if len(splits) > 1:
        raise InputError(
            f"manifest: a speaker must be in one split only; received {speaker} in "
            f"{' and '.join(splits)}. Split the corpus again."
        )
