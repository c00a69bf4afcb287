"""Predictions as lines of text: a table for people, CSV or JSON for programs.

A row is what was heard, such as a file's name, with the probability of each label. Each line is
there as soon as its row is; headers wait for the first row.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

Row = tuple[str | float, dict[str, float]]

_DECIMALS = 6  # of probabilities, which are float32


def as_table(
    rows: Iterable[Row], title: str, labels: Sequence[str], *, width: int = 0
) -> Iterator[str]:
    """Aligns columns, with percentages.

    Args:
        rows: What was heard, with the probability of each label.
        title: Header of the column of what was heard.
        labels: Emotions in the order of the probabilities.
        width: Characters of that column; a longer text widens it from there on.

    Yields:
        Lines.
    """
    widths = [
        max(width, len(title)),
        max(len(label) for label in (*labels, "emotion")),
        *(max(len(label), len("100.0%")) for label in labels),
    ]
    header = [(title, "emotion", *labels)]
    for heard, probabilities in rows:
        shares = (f"{probability:.1%}" for probability in probabilities.values())
        lines = [*header, (str(heard), _top(probabilities), *shares)]
        widths[0] = max(widths[0], len(str(heard)))
        yield from (_aligned(cells, widths) for cells in lines)
        header = []


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Joins the cells of a line: the first two to the left, numbers to the right."""
    texts = (cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True))
    numbers = (cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True))
    return "  ".join((*texts, *numbers))


def as_csv(rows: Iterable[Row], title: str, labels: Sequence[str]) -> Iterator[str]:
    """Separates values by commas, below a header.

    Args:
        rows: What was heard, with the probability of each label.
        title: Header of the column of what was heard.
        labels: Emotions in the order of the probabilities.

    Yields:
        Lines.
    """
    header = [(title, "emotion", *labels)]
    for heard, probabilities in rows:
        text = io.StringIO()
        shares = _rounded(probabilities).values()
        csv.writer(text, lineterminator="\n").writerows(
            [*header, (heard, _top(probabilities), *shares)]
        )
        yield text.getvalue().removesuffix("\n")
        header = []


def as_json(rows: Iterable[Row], title: str) -> Iterator[str]:
    """Makes each row a JSON object.

    Args:
        rows: What was heard, with the probability of each label.
        title: Key of what was heard; the others are `emotion` and `probabilities`.

    Yields:
        Lines.
    """
    for heard, probabilities in rows:
        yield json.dumps(
            {
                title: heard,
                "emotion": _top(probabilities),
                "probabilities": _rounded(probabilities),
            }
        )


def _top(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=lambda label: probabilities[label])


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {label: round(value, _DECIMALS) for label, value in probabilities.items()}
