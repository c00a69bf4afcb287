"""The recognisers that ship with this package, and the command `ser-nsl models`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError

DEFAULT_MODEL = "everyone"
"""The recogniser that commands use if none is given."""

_FOLDER = Path(__file__).parents[1] / "models"


def find_model(name_or_path: Path | str) -> Path:
    """Returns the file of a recogniser.

    Args:
        name_or_path: A name listed by `ser-nsl models`, such as `"emodb"`, or the path of a
            `.tflite` file.

    Returns:
        Path of the `.tflite` file.

    Raises:
        InputError: If there is no such recogniser.

    Example:
        >>> find_model("emodb").name
        'emodb.tflite'
        >>> find_model("recogniser.tflite")
        PosixPath('recogniser.tflite')
    """
    shipped = read_list()
    if str(name_or_path) in shipped:
        return _FOLDER / f"{name_or_path}.tflite"
    if not Path(name_or_path).exists():
        raise InputError(
            f"model {name_or_path}: is neither a file nor a recogniser that ships with ser_nsl "
            f"({', '.join(shipped)}); check the path."
        )
    return Path(name_or_path)


def find_model_or_default(name_or_path: Path | str | None) -> Path:
    """Returns the file of a recogniser; for None that of the default, with a note on stderr."""
    if name_or_path is not None:
        return find_model(name_or_path)
    entry = read_list()[DEFAULT_MODEL]
    print(
        f"model {DEFAULT_MODEL}: {len(entry['classes'])} emotions of {entry['language']} actors, "
        f"UAR {entry['uar']:.0%} (chance {1 / len(entry['classes']):.0%}); not for "
        "everyday speech or judging people. --model chooses another.",
        file=sys.stderr,
    )
    return find_model(DEFAULT_MODEL)


def models() -> str:
    """Lists the recognisers that ship with this package.

    UAR is the mean recall over the classes, measured with this very file on speakers that were not
    in training; chance is that of a random answer.

    Returns:
        A table, with a note on the licence of each recogniser's training data, and a line on its
        input and output.
    """
    rows = [("name", "version", "language", "classes", "MB", "UAR", "chance", "SHA-256")]
    notes = []
    for name, entry in read_list().items():
        classes = entry["classes"]
        size = f"{find_model(name).stat().st_size / 1e6:.2f}"
        uar, chance = f"{entry['uar']:.1%}", f"{1 / len(classes):.1%}"
        about = name, entry["version"], entry["language"], ", ".join(classes)
        rows.append((*about, size, uar, chance, entry["sha256"]))
        notes.append(f"{name}: {entry['title']}. {entry['note']}")
        notes.append(f"{name}: {_tensor(entry, 'input')}; {_tensor(entry, 'output')}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", *notes])


def _tensor(entry: Mapping[str, Any], role: str) -> str:
    """Describes the input or the output in words."""
    tensor = entry[role]
    low, high = tensor["range"]
    rate = f", {tensor['sample_rate_hz']} Hz" if "sample_rate_hz" in tensor else ""
    return f"{role} {tensor['name']}, {tensor['dtype']} {tensor['shape']}, {low} to {high}{rate}"


def read_list() -> dict[str, dict[str, Any]]:
    """Returns what is known of each shipped recogniser, by name: version, language, UAR, ..."""
    return json.loads((_FOLDER / "models.json").read_text(encoding="utf-8"))
