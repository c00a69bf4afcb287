"""Dead letters: bad records are written down with a reason, and all others go on.

Only `BadRecordError` makes one. A step raises it for what no retry can mend; any other exception
leaves the step, so that the runner tries the bundle again.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

DEAD_LETTERS = "dead letters"
"""Tag of the output for dead letters: lines of JSON with `id`, `where`, `stage`, `reason`."""

NAMESPACE = "ser_nsl"
"""Namespace of all counters."""


class BadRecordError(Exception):
    """A record that breaks a rule, and would break it again."""

    def __init__(self, reason: str, *, utterance_id: str = "", where: str = "") -> None:
        """Notes what is wrong with which record.

        Args:
            reason: The rule that it breaks.
            utterance_id: Id of its clip; empty if the record has none.
            where: Its file; for a record without an id also how to find it in there.
        """
        super().__init__(reason)
        self.reason, self.utterance_id, self.where = reason, utterance_id, where


def check_record(utterance_id: str, where: str, *rules: tuple[bool, str]) -> None:
    """Refuses a record that breaks a rule.

    Args:
        utterance_id: Id of its clip.
        where: Its file.
        *rules: Whether the record keeps each rule, and the reason to give if it does not.

    Raises:
        BadRecordError: If a rule is broken; it gives the first one.
    """
    for is_kept, reason in rules:
        if not is_kept:
            raise BadRecordError(reason, utterance_id=utterance_id, where=where)


def dead_letter(step: str, error: BadRecordError) -> beam.pvalue.TaggedOutput:
    """Makes and counts a dead letter."""
    count(f"{DEAD_LETTERS} of {step}")
    letter = {"id": error.utterance_id, "where": error.where, "stage": step, "reason": error.reason}
    return beam.pvalue.TaggedOutput(DEAD_LETTERS, json.dumps(letter, ensure_ascii=False))


def count(name: str, by: int = 1) -> None:
    """Adds to a counter of the pipeline."""
    Metrics.counter(NAMESPACE, name).inc(by)


@beam.ptransform_fn
def map_or_dead_letter(
    elements: beam.PCollection, step: str, function: Callable[[Any], Any], result_type: Any
) -> tuple[beam.PCollection, beam.PCollection]:
    """Applies a function to each element.

    Args:
        elements: Arguments of the function.
        step: Name of the step, for the dead letters.
        function: It may raise `BadRecordError`.
        result_type: Type of its results, from which Beam chooses their encoding.

    Returns:
        The results, and dead letters in place of those that raised `BadRecordError`.
    """
    return elements | "call" >> flat_map_with_dead_letters(
        partial(_call, step, function), result_type
    )


def _call(step: str, function: Callable[[Any], Any], element: Any) -> Iterator[Any]:
    try:
        yield function(element)
    except BadRecordError as error:
        yield dead_letter(step, error)


@beam.ptransform_fn
def flat_map_with_dead_letters(
    elements: beam.PCollection, function: Callable[[Any], Iterator[Any]], result_type: Any
) -> tuple[beam.PCollection, beam.PCollection]:
    """Applies a function that yields results and what `dead_letter` returns.

    Args:
        elements: Arguments of the function.
        function: From an element to any number of results and dead letters.
        result_type: Type of its results, from which Beam chooses their encoding.

    Returns:
        The results, and the dead letters.
    """
    outputs = elements | beam.FlatMap(function).with_output_types(result_type).with_outputs(
        DEAD_LETTERS, main="results"
    )
    return outputs["results"], outputs[DEAD_LETTERS]


def write_dead_letters(letters: list[beam.PCollection], prefix: str) -> None:
    """Writes dead letters to `PREFIX-00000-of-00001.jsonl`; the runner chooses how many files.

    Beam fills a fixed number of files up with empty ones, and when it has to repeat their renaming,
    one of these may replace a file that has letters in it.

    Args:
        letters: The dead letters of all steps.
        prefix: Path of the files up to their numbers.
    """
    write = beam.io.WriteToText(prefix, ".jsonl")
    _ = letters | "all dead letters" >> beam.Flatten() | "write dead letters" >> write
