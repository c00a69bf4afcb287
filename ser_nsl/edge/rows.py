"""Predictions as lines of text: a table for people, CSV or JSON for programs.

A row has a key, such as a file's name, and the probability of each label. Its line is yielded at
once, the first one after a header.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator

Row = tuple[str | float, dict[str, float]]

_DECIMALS = 6  # of probabilities, which are float32


def as_table(rows: Iterable[Row], title: str, *, width: int = 0) -> Iterator[str]:
    """Formats rows as a table with aligned columns and percentages.

    Args:
        rows: Keys, with the probability of each label.
        title: Header of the keys.
        width: Characters for the keys; a longer key widens its column from there on.

    Yields:
        Lines.
    """
    widths: list[int] = []
    for key, probabilities in rows:
        shares = (f"{probability:.1%}" for probability in probabilities.values())
        lines = [(str(key), _top(probabilities), *shares)]
        if not widths:
            header = (title, "emotion", *probabilities)
            lines = [header, *lines]
            widths = [max(len(text), len("100.0%")) for text in header]
            widths[:2] = max(width, len(title)), max(map(len, header[1:]))
        widths[0] = max(widths[0], len(str(key)))
        for line in lines:
            cells = list(map(str.rjust, line, widths))
            cells[:2] = map(str.ljust, line[:2], widths[:2])
            yield "  ".join(cells)


def as_csv(rows: Iterable[Row], title: str) -> Iterator[str]:
    """Formats rows as comma-separated values.

    Args:
        rows: Keys, with the probability of each label.
        title: Header of the keys.

    Yields:
        Lines; the first row's is two, with the header. Names that a spreadsheet would take for a
        formula have an apostrophe before them.
    """
    for number, (key, probabilities) in enumerate(rows):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")  # so that both are quoted within
        if number == 0:
            writer.writerow([title, "emotion", *map(harmless, probabilities)])
        emotion, shares = harmless(_top(probabilities)), _rounded(probabilities).values()
        writer.writerow([harmless(key) if isinstance(key, str) else key, emotion, *shares])
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


def as_json(rows: Iterable[Row], title: str) -> Iterator[str]:
    """Formats each row as a JSON object.

    Args:
        rows: Keys, with the probability of each label.
        title: Name of the key; the other names are `emotion` and `probabilities`.

    Yields:
        Lines.
    """
    for key, probabilities in rows:
        rounded = _rounded(probabilities)
        yield json.dumps({title: key, "emotion": _top(probabilities), "probabilities": rounded})


def _top(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=lambda label: probabilities[label])


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {label: round(value, _DECIMALS) for label, value in probabilities.items()}
