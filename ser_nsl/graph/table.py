"""`graph.tsv`: one directed edge a line, `source<TAB>target<TAB>weight`."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ser_nsl.errors import InputError


def read_graph(path: Path) -> pd.DataFrame:
    """Reads a graph.

    Args:
        path: The TSV file; a missing weight is 1, as for `nsl.tools`.

    Returns:
        Columns `source`, `target` (text) and `weight` (float), in the order of the lines.

    Raises:
        InputError: If a line has another form, an id is empty, or a weight is not finite.
    """
    with Path(path).open() as lines:
        rows = [_read_edge(line, f"{path}: line {i}") for i, line in enumerate(lines, start=1)]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def _read_edge(line: str, where: str) -> tuple[str, str, float]:
    fields = line.rstrip("\n").split("\t")
    try:
        source, target = fields[:2]
        weight = float(fields[2]) if len(fields) == 3 else 1.0
        if len(fields) > 3 or not source or not target or not abs(weight) < float("inf"):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"{where} must be source<TAB>target<TAB>weight; received {line!r}. "
            "Build the graph again."
        ) from error
    return source, target, weight


def check_ids(graph: pd.DataFrame, known: Iterable[str], *, path: Path, where: str) -> None:
    """Checks that the graph speaks of known clips only.

    Args:
        graph: As `read_graph` returns it.
        known: The clips.
        path: The graph's file, for the error.
        where: What holds the known clips, for the error.

    Raises:
        InputError: If an id is unknown; the message names the first three.
    """
    ids = set(graph["source"]) | set(graph["target"])
    unknown = sorted(ids - set(known))
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of its {len(ids)} clips are not in {where} (first: "
            f"{', '.join(unknown[:3])}). Build the graph and that folder from one manifest."
        )
