"""Lists of clips that are not read by the description of a corpus: any folder, any table."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath

import pandas as pd

from ser_nsl.corpora.description import Clip
from ser_nsl.corpora.manifest import COLUMNS
from ser_nsl.errors import InputError

_GIVEN = tuple(column for column in COLUMNS if column not in ("duration_seconds", "corpus"))


def read_folder_name(path: PurePath, speaker_pattern: str | None = None) -> Clip:
    """Reads `anger/clip.wav` or `anger/speaker/clip.wav`.

    Args:
        path: The clip's, relative to the audio root.
        speaker_pattern: As for `find_speaker`; None takes the speaker from the second folder.

    Returns:
        The clip; its gender is unknown, its speaker too where there is no second folder.

    Raises:
        InputError: If the clip lies elsewhere, or its path does not match the pattern.

    Example:
        >>> read_folder_name(PurePath("anger/anna/1.wav"))
        Clip(utterance_id='anger/anna/1', speaker='anna', gender='', emotion='anger')
        >>> read_folder_name(PurePath("anger/anna_1.wav"), r"(?P<speaker>[a-z]+)_").speaker
        'anna'
    """
    if not 2 <= len(path.parts) <= 3:
        raise InputError(f"{path}: clips must lie at EMOTION/FILE or EMOTION/SPEAKER/FILE.")
    if speaker_pattern is not None:
        speaker = find_speaker(path, speaker_pattern)
    else:
        speaker = path.parts[1] if len(path.parts) == 3 else ""
    return Clip(path.with_suffix("").as_posix(), speaker, "", path.parts[0])


def find_speaker(path: PurePath, pattern: str) -> str:
    """Finds the speaker in a clip's path.

    Args:
        path: The clip's, relative to the audio root.
        pattern: Regular expression with the group `speaker`, searched for in file name and then in
            the whole path.

    Returns:
        The speaker.

    Raises:
        InputError: If the pattern is invalid or does not match.
    """
    try:
        match = re.search(pattern, path.name) or re.search(pattern, path.as_posix())
        if "speaker" not in re.compile(pattern).groupindex:
            raise InputError(
                "speaker_pattern: must have the group (?P<speaker>...); received " + pattern
            )
    except re.error as error:
        raise InputError(f"speaker_pattern: {pattern}: {error}.") from error
    if match is None:
        raise InputError(f"{path}: does not match the speaker_pattern {pattern}.")
    return match["speaker"]


def read_table(
    table: Path,
    columns: Mapping[str, str] | None = None,
    speaker_pattern: str | None = None,
) -> pd.DataFrame:
    """Reads a user's list of clips.

    Args:
        table: CSV with `path` (relative to the audio root) and `emotion` (empty for a clip without
            a label); `utterance_id`, `speaker`, `gender` and `split` where known.
        columns: Names of these columns in the file, where they differ, e.g. {"path": "file"}.
        speaker_pattern: As for `find_speaker`; None takes speakers from the column `speaker`.

    Returns:
        Columns `utterance_id` (by default the path without suffix), `path`, `speaker`, `gender`,
        `emotion` and, where the file has it, `split`; text.

    Raises:
        InputError: If the file cannot be read, or a column is missing.
    """
    columns = dict(columns or {})
    unknown = sorted(columns.keys() - set(_GIVEN))
    if unknown:
        raise InputError(
            f"columns: must name some of {', '.join(_GIVEN)}; received {', '.join(unknown)}."
        )
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{table}: cannot be read as CSV ({error}).") from error
    needed = [columns.get(name, name) for name in ("path", "emotion")]
    missing = [name for name in (*needed, *columns.values()) if name not in rows]
    if missing:
        raise InputError(
            f"{table}: column {', '.join(dict.fromkeys(missing))} is missing; the file has "
            f"{', '.join(rows)}. Say which to read: --columns path FILE emotion LABEL."
        )
    rows = rows[[column for column in rows if column in columns.values() or column not in columns]]
    rows = rows.rename(columns={theirs: ours for ours, theirs in columns.items()})
    if "utterance_id" not in rows:
        rows["utterance_id"] = rows["path"].map(lambda path: Path(path).with_suffix("").as_posix())
    for column in ("speaker", "gender"):
        if column not in rows:
            rows[column] = ""
    if speaker_pattern is not None:
        rows["speaker"] = [find_speaker(PurePath(path), speaker_pattern) for path in rows["path"]]
    return rows[[column for column in _GIVEN if column in rows]]
