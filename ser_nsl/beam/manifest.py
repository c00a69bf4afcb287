"""The clips of a manifest, read line by line, and what must be known of all before any is used."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.typehints.decorators import no_annotations

from ser_nsl.beam.letters import LETTERS, BadRecordError, dead_letter, with_letters
from ser_nsl.corpora.manifest import COLUMNS, SPLITS
from ser_nsl.errors import InputError

_STAGE = "reading the manifest"


class Clip(NamedTuple):
    """A line of a manifest.

    Attributes:
        utterance_id: Its id.
        path: Relative to the audio root.
        speaker: Empty where unknown.
        emotion: Empty for a clip without a label.
        split: `train`, `val` or `test`.
        seconds: Its length.
    """

    utterance_id: str
    path: str
    speaker: str
    emotion: str
    split: str
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What all clips of a manifest have in common.

    Attributes:
        emotions: All classes.
        trained: The classes with clips in the training split.
        longest_seconds: Length of the longest clip.
    """

    emotions: frozenset[str] = frozenset()
    trained: frozenset[str] = frozenset()
    longest_seconds: float = 0.0

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(
            self.emotions | other.emotions,
            self.trained | other.trained,
            max(self.longest_seconds, other.longest_seconds),
        )

    def classes(self) -> tuple[str, ...]:
        """The emotions in the order of the labels.

        Raises:
            InputError: If one has no clip in the training split, or there is none.
        """
        missing = sorted(self.emotions - self.trained)
        if missing or not self.trained:
            raise InputError(
                "manifest: every class needs clips in the training split, and there must be one; "
                f"received none in {', '.join(missing) or 'any'}. Divide the corpus otherwise."
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
    for file in match.metadata_list:
        with FileSystems.open(file.path) as opened:
            headers.add(opened.readline().decode("utf-8-sig").rstrip("\r\n"))
    columns = [tuple(next(csv.reader([header]))) for header in headers if header]
    if len(columns) != 1 or not set(COLUMNS) <= set(columns[0]):
        raise InputError(
            f"{pattern}: must be one or more CSV files that begin with the same line of columns, "
            f"among them {', '.join(COLUMNS)}; received {len(match.metadata_list)} files and "
            f"{sorted(headers)}. Make them with tools/prepare_corpus.py."
        )
    return columns[0]


class ReadManifest(beam.PTransform):
    """Reads a manifest: clips, their `Summary`, and dead letters."""

    def __init__(self, pattern: str, columns: tuple[str, ...]) -> None:
        """Sets what to read.

        Args:
            pattern: The CSV file, or a pattern of several.
            columns: Names of their columns.
        """
        super().__init__()
        self._pattern, self._columns = pattern, columns

    @no_annotations
    def expand(
        self, begin: beam.pvalue.PBegin
    ) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
        """Takes the pipeline; returns the clips, one summary and the dead letters."""
        parsed = (
            begin
            | beam.io.ReadFromText(self._pattern, skip_header_lines=1)
            | beam.ParDo(_Parse(self._columns)).with_outputs(LETTERS, main="clips")
        )
        single = (
            parsed["clips"]
            | beam.Map(lambda clip: (clip.utterance_id, clip))
            | "meet ids" >> beam.GroupByKey()  # and with it divide the work among all workers
            | beam.ParDo(_Single()).with_outputs(LETTERS, main="clips")
        )
        clips = single["clips"]
        _ = (
            clips
            | beam.FlatMap(lambda clip: [(clip.speaker, clip.split)] if clip.speaker else [])
            | "meet speakers" >> beam.CombinePerKey(_union)
            | beam.Map(_check_speaker)
        )
        summary = clips | beam.Map(_summary_of) | beam.CombineGlobally(_sum)
        return clips, summary, (parsed[LETTERS], single[LETTERS]) | beam.Flatten()


class _Parse(beam.DoFn):
    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__()
        self._columns = columns

    def process(self, line: str) -> Iterator[Clip]:
        yield from with_letters(_STAGE, self._parse(line))

    def _parse(self, line: str) -> Iterator[Clip]:
        fields = next(csv.reader([line]), [])
        if len(fields) != len(self._columns):
            raise BadRecordError(
                f"has {len(fields)} fields, not {len(self._columns)}", where=f"line {line!r}"
            )
        row = dict(zip(self._columns, fields, strict=True))
        yield _clip_of(row, where=f"line {line!r}")


def _clip_of(row: Mapping[str, str], where: str) -> Clip:
    utterance_id = row["utterance_id"]
    if not utterance_id or "\t" in utterance_id:
        raise BadRecordError(
            "its id is empty or holds a tab", utterance_id=utterance_id, where=where
        )
    if row["split"] not in SPLITS:
        raise BadRecordError(
            f"its split must be one of {SPLITS}", utterance_id=utterance_id, where=where
        )
    try:
        seconds = float(row["duration_seconds"])
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadRecordError(
            f"duration_seconds must be a positive number; received {row['duration_seconds']!r}",
            utterance_id=utterance_id,
            where=where,
        )
    return Clip(utterance_id, row["path"], row["speaker"], row["emotion"], row["split"], seconds)


class _Single(beam.DoFn):
    def process(self, element: tuple[str, Iterable[Clip]]) -> Iterator[Clip]:
        utterance_id, group = element
        clips = list(group)
        if len(clips) == 1:
            yield clips[0]
        else:
            reason = f"its id is on {len(clips)} lines"
            bad = BadRecordError(reason, utterance_id=utterance_id)
            yield dead_letter(_STAGE, bad)  # type: ignore[misc]  # not the main output


def _union(splits: Iterable[Any]) -> frozenset[str]:
    """Joins names and sets of names, since a combiner sees both."""
    return frozenset().union(*({each} if isinstance(each, str) else each for each in splits))


def _check_speaker(home: tuple[str, frozenset[str]]) -> None:
    speaker, splits = home
    if len(splits) > 1:
        raise InputError(
            f"manifest: a speaker must stand in one split only; received {speaker} in "
            f"{' and '.join(sorted(splits))}. Divide the corpus again."
        )


def _summary_of(clip: Clip) -> Summary:
    emotions = frozenset({clip.emotion} - {""})
    return Summary(emotions, emotions if clip.split == "train" else frozenset(), clip.seconds)


def _sum(summaries: Iterable[Summary]) -> Summary:
    return sum(summaries, start=Summary())
