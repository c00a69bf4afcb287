"""The results file: one line of JSON a run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.sweep import Run

_SETTINGS = [field.name for field in fields(Run)]

Results = dict[Run, dict[str, Any]]
"""From run to what came of it: `val_uar`, `kept_epoch`, `seconds`, and with the test speakers
`uar`, `accuracy`, `confusion_matrix`, and `speakers`, from speaker to `uar` and `clips`."""


def read_results(path: Path) -> Results:
    """Reads the runs that are done.

    Args:
        path: The results file; it may be missing.

    Returns:
        In the order of the lines.

    Raises:
        InputError: If a line is not one of a sweep.
    """
    results = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            values = json.loads(line)
            run = Run(**{name: values.pop(name) for name in _SETTINGS})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: line {number} is not one of tools/sweep.py ({error}); delete the line."
            ) from error
        results[run] = values
    return results


def add_result(path: Path, run: Run, result: Mapping[str, Any]) -> None:
    """Adds a line; a sweep that is killed meanwhile leaves the file as it was.

    Args:
        path: The results file; it is made if it does not exist.
        run: What was run.
        result: What came of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    begun = path.with_name(f".{path.name}")
    begun.write_text(before + json.dumps(asdict(run) | dict(result)) + "\n")
    begun.replace(path)
