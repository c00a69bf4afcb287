"""Dead letters: bad data are written down with a reason, and everything else goes on.

Only `BadRecordError` makes one. A step raises it for what no second try can mend; any other
exception leaves the step, so that the runner tries the bundle again.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

LETTERS = "dead letters"
"""Tag of the output for dead letters: lines of JSON with `id`, `where`, `stage`, `reason`."""

NAMESPACE = "ser_nsl"
"""Of all metrics here."""


class BadRecordError(Exception):
    """Something is wrong with one record and stays so."""

    def __init__(self, reason: str, *, utterance_id: str = "", where: str = "") -> None:
        """Tells what.

        Args:
            reason: What rule it breaks.
            utterance_id: Its clip, where it tells one.
            where: Its file, and for a record without an id what tells it apart there.
        """
        super().__init__(reason)
        self.reason, self.utterance_id, self.where = reason, utterance_id, where


def with_letters(stage: str, results: Iterable[Any]) -> Iterator[Any]:
    """Passes on what a step makes of one element, or a dead letter.

    Args:
        stage: Name of the step.
        results: Iterated once; it may raise `BadRecordError`.

    Yields:
        The results; a dead letter for a `BadRecordError`.
    """
    try:
        yield from results
    except BadRecordError as bad:
        yield dead_letter(stage, bad)


def dead_letter(stage: str, bad: BadRecordError) -> beam.pvalue.TaggedOutput:
    """Makes and counts a dead letter."""
    count(f"dead letters of {stage}")
    letter = {"id": bad.utterance_id, "where": bad.where, "stage": stage, "reason": bad.reason}
    return beam.pvalue.TaggedOutput(LETTERS, json.dumps(letter, ensure_ascii=False))


def count(name: str, by: int = 1) -> None:
    """Adds to a counter of the pipeline."""
    Metrics.counter(NAMESPACE, name).inc(by)


class WriteLetters(beam.PTransform):
    """Writes dead letters to `{name}-00000-of-00001.jsonl`, into as many files as the runner likes.

    Beam fills up a given number of files with empty ones, and when it has to repeat their renaming,
    one of these may take the place of a file with letters in it.
    """

    def __init__(self, prefix: str) -> None:
        """Sets where to.

        Args:
            prefix: Path of the files up to their numbers.
        """
        super().__init__()
        self._prefix = prefix

    def expand(self, letters: beam.PCollection[str]) -> beam.PCollection:
        """Takes the dead letters of all steps."""
        return letters | beam.io.WriteToText(self._prefix, ".jsonl")
