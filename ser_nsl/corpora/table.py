"""Clips without a description of their corpus: any folder, any table."""

from collections.abc import Mapping
from pathlib import PurePath

import pandas as pd

from ser_nsl.corpora.description import Clip, named_groups
from ser_nsl.corpora.manifest import COLUMNS, read_csv
from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check

_GIVEN = tuple(column for column in COLUMNS if column not in ("duration_seconds", "corpus"))


def read_folder_name(path: PurePath) -> Clip:
    """Reads `anger/clip.wav` or `anger/speaker/clip.wav`.

    Args:
        path: Path of the clip, relative to the audio root.

    Returns:
        The clip; its gender is unknown, its speaker too where there is no second folder.

    Raises:
        InputError: If the clip lies elsewhere.

    Example:
        >>> read_folder_name(PurePath("anger/anna/1.wav"))
        Clip(utterance_id='anger/anna/1', speaker='anna', gender='', emotion='anger')
    """
    if not 2 <= len(path.parts) <= 3:
        raise InputError(f"{path}: clips must lie at EMOTION/FILE or EMOTION/SPEAKER/FILE.")
    speaker = path.parts[1] if len(path.parts) == 3 else ""
    return Clip(path.with_suffix("").as_posix(), speaker, "", path.parts[0])


def find_speakers(paths: pd.Series, pattern: str) -> pd.Series:
    r"""Finds the speakers in paths of clips.

    Args:
        paths: Paths relative to the audio root.
        pattern: Regular expression with the group `speaker`, searched for in the file name, and in
            the whole path if it is not there.

    Returns:
        The speaker of each path; missing where the pattern matches nothing.

    Raises:
        InputError: If the pattern is invalid.

    Example:
        >>> find_speakers(pd.Series(["day_1/anna_7.wav"]), r"(?P<speaker>\w+)_\d").to_list()
        ['anna']
    """
    try:
        groups = named_groups(pattern, "speaker_pattern")
        check("speaker" in groups, "speaker_pattern", "with the group (?P<speaker>...)", pattern)
    except ValueError as error:
        raise InputError(f"{error}.") from error
    names = paths.str.rpartition("/")[2]
    return names.str.extract(pattern)["speaker"].fillna(paths.str.extract(pattern)["speaker"])


def read_table(table: str | PurePath, columns: Mapping[str, str]) -> pd.DataFrame:
    """Reads a user's table of clips.

    Args:
        table: CSV file with `path` (relative to the audio root) and `emotion` (empty for a clip
            without a label); `utterance_id`, `speaker`, `gender` and `split` where known.
        columns: Names of these columns in the file, where they differ, e.g. {"path": "file"}.

    Returns:
        Columns `utterance_id` (by default the path without suffix), `path`, `speaker`, `gender`,
        `emotion` and, where the file has it, `split`; text.

    Raises:
        InputError: If the file cannot be read, or a column is missing.
    """
    unknown = sorted(columns.keys() - set(_GIVEN))
    if unknown:
        raise InputError(
            f"columns: must be among {', '.join(_GIVEN)}; received {', '.join(unknown)}."
        )
    rows = read_csv(table)
    names = {column: columns.get(column, column) for column in _GIVEN}
    needed = dict.fromkeys([names["path"], names["emotion"], *columns.values()])
    missing = [name for name in needed if name not in rows]
    if missing:
        raise InputError(
            f"{table}: column {', '.join(missing)} is missing; the file has {', '.join(rows)}. "
            "Say which to read: --columns path FILE emotion LABEL."
        )
    read = pd.DataFrame({ours: rows[name] for ours, name in names.items() if name in rows})
    if "utterance_id" not in read:
        read["utterance_id"] = [_without_suffix(path) for path in read["path"]]
    for column in ("speaker", "gender"):
        if column not in read:
            read[column] = ""
    return read[[column for column in _GIVEN if column in read]]


def _without_suffix(path: object) -> str:
    """Returns a clip's path without suffix; cells without a path are refused with the audio."""
    clip = PurePath(str(path))
    return (clip.parent / clip.stem).as_posix()
