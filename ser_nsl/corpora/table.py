"""Clips without a description of their corpus: any folder, any table."""

import csv
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

import pandas as pd

from ser_nsl.audio.folders import SUFFIXES
from ser_nsl.corpora.description import Clip, named_groups
from ser_nsl.corpora.found import listed
from ser_nsl.corpora.manifest import COLUMNS, read_csv
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.settings import check

_GIVEN = tuple(column for column in COLUMNS if column not in ("duration_seconds", "corpus"))
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_BLANK = "".join(_SEPARATORS) + " \n"
_SPLITS = {
    "train": "train training",
    "val": "val valid validation dev devel development",
    "test": "test testing",
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words.split()}
_OFTEN_CALLED = {
    "path": "file filename filepath fname audio audiofile audiopath wav wavfile clip recording",
    "emotion": "emo label labels class category target emotionlabel",
    "speaker": "speakerid spk spkid actor actorid subject subjectid participant participantid",
    "gender": "sex",
    "split": "partition subset set usage",
    "utterance_id": "id utteranceid uttid utterance clipid",
}
_COLUMNS_SHOWN = 30  # of a table of features there may be thousands
_PART_OF_A_RECORDING = frozenset(
    ("start", "begin", "onset", "starttime", "begintime", "startseconds")
    + ("end", "stop", "offset", "endtime", "endseconds")
)


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
        raise InputError(
            f"{path}: clips must lie at EMOTION/FILE or EMOTION/SPEAKER/FILE; else describe their "
            "names in a --corpus YAML file, or list them in a table."
        )
    speaker = path.parts[1] if len(path.parts) == 3 else ""
    return Clip(path.with_suffix("").as_posix(), speaker, "", path.parts[0])


def read_speech_name(path: PurePath) -> Clip:
    """Reads the path of a clip without labels, at any depth.

    Args:
        path: Path of the clip, relative to the audio root.

    Returns:
        The clip, of which only the id is known.

    Example:
        >>> read_speech_name(PurePath("monday/1.wav"))
        Clip(utterance_id='monday/1', speaker='', gender='', emotion='')
    """
    return Clip(path.with_suffix("").as_posix(), "", "", "")


def check_name(path: PurePath) -> None:
    """Refuses a file name that a manifest, records or a graph cannot hold.

    Args:
        path: Path of a clip.

    Raises:
        InputError: If it is not UTF-8, or has tabs or line ends.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{os.fsencode(path)!r}: is not UTF-8; rename the file.") from error
    if re.search(r"[\t\r\n]", str(path)):
        raise InputError(f"{str(path)!r}: has a tab or a line end in its name; rename the file.")


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


def read_table(table: str | PurePath, columns: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    r"""Reads a user's table of clips.

    Args:
        table: File in UTF-8 whose cells are separated by commas, semicolons, tabs or bars, with
            `path` (relative to the audio root) and `emotion` (empty for a clip without a label);
            `utterance_id`, `speaker`, `gender` and `split` where known. Case does not matter;
            splits may be called `Training`, `dev` and the like.
        columns: Names of these columns in the file, where they differ, e.g. {"path": "file"}.

    Returns:
        Columns `utterance_id` (by default the path without suffix), `path`, `speaker`, `gender`,
        `emotion` and, where the file has it, `split`; text. And a sentence for each column that is
        not read but may be one of these, with what to type if it is, and one for lines that end too
        early.

    Raises:
        InputError: If the file cannot be read, has no header, a column is missing or may be either
            of two, or a clip is in several lines.

    Example:
        >>> _ = Path("clips.csv").write_text("Path;emotion;spk\n1.wav;joy;anna\n")
        >>> rows, doubts = read_table("clips.csv", {"speaker": "spk"})
        >>> rows.to_numpy().tolist(), doubts
        ([['1', '1.wav', 'anna', '', 'joy']], [])
    """
    unknown = sorted(columns.keys() - set(_GIVEN))
    if unknown:
        raise InputError(
            f"columns: must be among {', '.join(_GIVEN)}; received {', '.join(unknown)}."
        )
    header, separator = _header(table)
    rows = read_csv(table, separator)
    if rows.empty:
        there = listed(header, _COLUMNS_SHOWN)
        raise InputError(f"{table}: holds no clip below its header, {there}.")
    names = _own_names(table, header, columns)
    unread = _likely_columns([name for name in header if name not in names.values()])
    likely = {column: name for column, name in unread.items() if names[column] not in rows}
    needed = dict.fromkeys([names["path"], names["emotion"], *columns.values()])
    missing = [name for name in needed if name not in rows]
    if missing:
        absent = {column: "COLUMN" for column in _GIVEN if names[column] in missing}
        pairs = [f"{column} {shlex.quote(name)}" for column, name in (absent | likely).items()]
        raise InputError(
            f"{table}: column {', '.join(missing)} is missing; the file has "
            f"{listed(header, _COLUMNS_SHOWN)} ({len(rows):,} rows, separated by "
            f"{_SEPARATORS[separator]}). Needed are path (of a clip below --audio-dir, with "
            "suffix) and emotion; understood are utterance_id, speaker, gender and split too. Say "
            f"which to read, or add it to the file: --columns {' '.join(pairs)}."
        )
    read = pd.DataFrame({ours: rows[name] for ours, name in names.items() if name in rows})
    read = read.fillna("")
    doubts = [f"{table}: {doubt}" for doubt in _doubts_of_columns(header, likely)]
    short = read.loc[rows.isna().any(axis=1), "path"]
    if len(short):
        doubts.append(
            f"{table}: {len(short):,} lines have fewer cells than the header, and the others count "
            f"as empty (first: {short.iloc[0]})"
        )
    refuse(
        read.loc[read["path"].duplicated() & (read["path"] != ""), "path"],
        f"{table}: clips are in several lines",
        "Keep one line for each, and cut recordings of several emotions into clips.",
    )
    if "split" in read:
        splits = read["split"].str.strip().str.casefold()
        read["split"] = splits.map(_SPLIT_OF).fillna(read["split"])
    is_found = "utterance_id" in read and "utterance_id" not in columns
    if is_found and read["utterance_id"].duplicated().any():
        doubts.append(
            f"{table}: column {names['utterance_id']} does not tell clips apart, so paths are ids"
        )
        read = read.drop(columns="utterance_id")
    if "utterance_id" not in read:
        read["utterance_id"] = [_without_suffix(path) for path in read["path"]]
    for column in ("speaker", "gender"):
        if column not in read:
            read[column] = ""
    return read[[column for column in _GIVEN if column in read]], doubts


def _own_names(
    table: str | PurePath, header: list[str], columns: Mapping[str, str]
) -> dict[str, str]:
    """How the table calls each column that is understood."""
    for column in _GIVEN:
        same = [name for name in header if _plain(name) == _plain(column)]
        refuse(
            same if len(same) > 1 and column not in columns else [],
            f"{table}: columns may each be the {column}",
            f"Say which one is: --columns {column} NAME.",
        )
    own = {_plain(name): name for name in reversed(header)}
    return {column: columns.get(column, own.get(_plain(column), column)) for column in _GIVEN}


def _doubts_of_columns(header: list[str], likely: Mapping[str, str]) -> Iterator[str]:
    """What is not read, though it may be meant."""
    for column, name in likely.items():
        yield (
            f"column {name} is not read; if it is the {column}: "
            f"--columns {column} {shlex.quote(name)}"
        )
    parts = [name for name in header if _plain(name) in _PART_OF_A_RECORDING]
    if len(parts) > 1:
        yield (
            f"columns {', '.join(parts)} are not read, and each clip is its whole file; if they "
            "say which part, cut the recordings first"
        )


def _header(table: str | PurePath) -> tuple[list[str], str]:
    """Names of the columns, and the separator, which is what the first line has most of."""
    try:
        with Path(table).open(encoding="utf-8-sig", newline=None) as file:
            line = next((line for line in file if line.strip(_BLANK)), "")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{table}: is not text in UTF-8 ({error.reason} at byte {error.start}); save it as "
            "'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror}).") from error
    separator = max(_SEPARATORS, key=line.count)
    header = next(csv.reader([line[: csv.field_size_limit()]], delimiter=separator), [])
    if line.lstrip()[:1] in ("{", "["):
        raise InputError(
            f"{table}: is JSON, not a CSV table; write it as one, such as with "
            "pandas.read_json(FILE, lines=...).to_csv(TABLE, index=False)."
        )
    if len(header) < 2:
        raise InputError(
            f"{table}: is no CSV table with a header such as path,emotion: its first line is "
            f"{line[:80].rstrip()!r}. Separate cells by commas, semicolons, tabs or bars."
        )
    clips = [name for name in header if PurePath(name).suffix.lower() in SUFFIXES]
    if clips:
        raise InputError(
            f"{table}: has no header: its first line names the clip {clips[0]}. Put a line such as "
            "path,emotion,speaker above it."
        )
    return header, separator


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _likely_columns(names: Iterable[str]) -> dict[str, str]:
    """From our columns to those of a file that are often used for them."""
    likely: dict[str, str] = {}
    for name in names:
        for column, others in _OFTEN_CALLED.items():
            if _plain(name) in others.split():
                likely.setdefault(column, name)
    return likely


def _without_suffix(path: object) -> str:
    """Returns a clip's path without suffix; cells without a path are refused with the audio."""
    clip = PurePath(str(path))
    return (clip.parent / clip.stem).as_posix()
