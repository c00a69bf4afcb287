"""Any CSV table of clips: columns `path` and `emotion`, and as many of the manifest's as known."""

from pathlib import Path

import pandas as pd

from ser_nsl.corpora.manifest import COLUMNS
from ser_nsl.errors import InputError


def read_table(table: Path) -> pd.DataFrame:
    """Reads a user's list of clips.

    Args:
        table: CSV with `path` (relative to the audio root) and `emotion` (empty for a clip
            without a label); `utterance_id`, `speaker`, `gender` and `split` where known.

    Returns:
        Columns `utterance_id` (the path without suffix by default), `path`, `speaker`,
        `gender`, `emotion` and, where the file has it, `split`; text.

    Raises:
        InputError: If the file cannot be read, or `path` or `emotion` is missing.
    """
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (
        OSError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f"{table}: cannot be read as CSV ({error}).") from error
    missing = [column for column in ("path", "emotion") if column not in rows]
    if missing:
        raise InputError(
            f"{table}: column {', '.join(missing)} is missing; 'path' and 'emotion' are needed."
        )
    if "utterance_id" not in rows:
        rows["utterance_id"] = rows["path"].map(lambda path: Path(path).with_suffix("").as_posix())
    for column in ("speaker", "gender"):
        if column not in rows:
            rows[column] = ""
    return rows[[column for column in COLUMNS if column in rows and column != "duration_seconds"]]
