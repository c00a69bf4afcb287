"""Predictions as lines of text: a table for people, CSV or JSON for programs.

A row has keys by name, such as a file's name and a time, and the probability of each label. Its
line is yielded at once, the first one after a header.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator

from ser_nsl.edge.window import NO_SPEECH
from ser_nsl.errors import printable

Row = tuple[dict[str, str | float], dict[str, float]]

_DECIMALS = 6  # of probabilities, which are float32


def as_table(rows: Iterable[Row], *, width: int = 0) -> Iterator[str]:
    """Formats rows as a table with aligned columns and percentages.

    Args:
        rows: Keys, with the probability of each label.
        width: Characters for the first key; a longer one widens its column from there on.

    Yields:
        Lines; of names, what cannot be printed is escaped.
    """
    widths: list[int] = []
    for keys, probabilities in rows:
        shares = (f"{probability:.1%}" for probability in probabilities.values())
        cells = [*(printable(str(key)) for key in keys.values()), _top(probabilities), *shares]
        lines = [cells]
        if not widths:
            header = [*keys, "emotion", *probabilities]
            lines = [header, cells]
            widths = [max(len(text), len("100.0%")) for text in header]
            widths[0] = max(width, len(header[0]))
            widths[len(keys)] = max(map(len, header[len(keys) :]))
        widths[0] = max(widths[0], len(cells[0]))
        for line in lines:
            padded = list(map(str.rjust, line, widths))
            for left in (0, len(keys)):  # names; numbers stand to the right
                padded[left] = line[left].ljust(widths[left])
            yield "  ".join(padded)


def as_csv(rows: Iterable[Row]) -> Iterator[str]:
    """Formats rows as comma-separated values.

    Args:
        rows: Keys, with the probability of each label.

    Yields:
        Lines; the first row's is two, with the header. Names that a spreadsheet would take for a
        formula have an apostrophe before them.
    """
    for number, (keys, probabilities) in enumerate(rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")  # so that both are quoted within
        if number == 0:
            writer.writerow([*keys, "emotion", *map(harmless, probabilities)])
        emotion, shares = harmless(_top(probabilities)), _rounded(probabilities).values()
        cells = [harmless(key) if isinstance(key, str) else key for key in keys.values()]
        writer.writerow([*cells, emotion, *shares])
        yield text.getvalue().removesuffix("\r\n").replace("\r\n", "\n")


def harmless(cell: str) -> str:
    """Keeps spreadsheets from taking a name for a formula, which may read files or call programs.

    Args:
        cell: A name of others, such as that of a file.

    Returns:
        The name, after an apostrophe if it begins as formulas do.

    Example:
        >>> harmless("=HYPERLINK(A1).wav"), harmless("a=b.wav")
        ("'=HYPERLINK(A1).wav", 'a=b.wav')
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


def as_json(rows: Iterable[Row]) -> Iterator[str]:
    """Formats each row as a JSON object, of its keys, `emotion` and `probabilities`.

    Args:
        rows: Keys, with the probability of each label.

    Yields:
        Lines.
    """
    for keys, probabilities in rows:
        answer = {"emotion": _top(probabilities), "probabilities": _rounded(probabilities)}
        yield json.dumps(keys | answer)


def _top(probabilities: dict[str, float]) -> str:
    top = max(probabilities, key=lambda label: probabilities[label])
    return top if probabilities[top] > 0 else NO_SPEECH


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {label: round(value, _DECIMALS) for label, value in probabilities.items()}
