"""`manifest.csv`: one row per clip, all that later stages know of a corpus.

| Column | Content |
|---|---|
| `utterance_id` | unique, without tabs and line ends |
| `path` | relative to the audio root |
| `speaker` | empty where unknown |
| `gender` | `female`, `male` or empty |
| `emotion` | empty for a clip without a label |
| `split` | `train`, `val` or `test` |
| `duration_seconds` | of the decoded clip |
| `corpus` | name of the corpus |
"""

import csv
import io
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import pandas as pd
import soundfile

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, read_audio
from ser_nsl.corpora.description import Corpus, known_corpora, load_corpus
from ser_nsl.corpora.found import SHOWN, as_shown, listed, spelt_alike
from ser_nsl.corpora.settings import SPLITS
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.record import read_record

_LONGEST_SECONDS = 86_400

COLUMNS = (
    "utterance_id",
    "path",
    "speaker",
    "gender",
    "emotion",
    "split",
    "duration_seconds",
    "corpus",
)


DURATION_TOLERANCE_SECONDS = 0.1
"""How far the duration of a clip may be from that of its audio; tables round."""

_LONG_SECONDS, _LONG_FACTOR = 60, 5


def training_data_note(table: pd.DataFrame) -> str:
    """Returns the note on licences that goes with a model made from a manifest.

    Args:
        table: A manifest.
    """
    known = {name: _known(name) for name in sorted(set(table["corpus"]))}
    terms = [
        f"{name} (terms unknown)" if corpus is None else f"{corpus.title} ({corpus.licence})"
        for name, corpus in known.items()
    ]
    return f"Made from {', '.join(terms)}, whose terms bind those who use it."


def corpus_title(name: str) -> str:
    """Returns the title of a known corpus, or the given name."""
    corpus = _known(name)
    return name if corpus is None else corpus.title


def _known(name: str) -> Corpus | None:
    return load_corpus(name) if name in known_corpora() else None


def read_csv(path: str | PurePath, separator: str = ",") -> pd.DataFrame:
    """Reads a CSV file as text.

    Args:
        path: The file, in UTF-8.
        separator: What stands between cells.

    Returns:
        Its rows; empty cells are empty text, and those that a line lacks are missing. Lines without
        text, which spreadsheets write below tables, are none.

    Raises:
        InputError: If it is missing, is not CSV, a line has more cells than the first one, or two
            columns have one name.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}).") from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header, *rows = [row for row in lines if "".join(row).strip()] or [[]]
    except csv.Error as error:
        raise InputError(
            f"{path}: cannot be read as a CSV table ({error} in line {lines.line_num}); put quotes "
            "around whole cells only."
        ) from error
    longer = next((row for row in rows if len(row) > len(header)), None)
    if "\0" in text or not header:
        raise InputError(f"{path}: cannot be read as a CSV table (it is no text); save it as CSV.")
    if longer is not None:
        raise InputError(
            f"{path}: cannot be read as a CSV table (a line has more cells than its header, which "
            f"has {listed(header, SHOWN)}; it begins with {longer[0]}); put quotes around cells "
            "with a separator inside, and nothing above the header."
        )
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    refuse(twice, f"{path}: columns are there twice", "Give each a name of its own.")
    whole = [[*row, *[None] * (len(header) - len(row))] for row in rows]
    return pd.DataFrame(whole, columns=header, dtype="str")


def read_manifest(path: Path) -> pd.DataFrame:
    """Reads and checks a manifest.

    Args:
        path: The CSV file.

    Returns:
        One row per clip, columns `COLUMNS`; text everywhere but in `duration_seconds`.

    Raises:
        InputError: If the file is missing, is no CSV, breaks a rule of `check_manifest`, or has an
            emotion, a speaker or a gender with spare spaces or hidden characters. Emotions or
            speakers that differ in case only, and that `prepare_corpus` has not doubted, are told
            on standard error.

    Example:
        >>> read_manifest(Path("manifest.csv"))[["utterance_id", "emotion", "split"]].head(2)
                   utterance_id  emotion split
        0  03-01-01-01-01-01-01  neutral ...
        1  03-01-01-01-01-01-02  neutral ...
    """
    if not Path(path).exists():
        raise InputError(f"{path}: does not exist; make it with ser-nsl prepare-corpus.")
    table = read_csv(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; a manifest has the columns "
            f"{', '.join(COLUMNS)}."
        )
    lines = table.index[table.isna().any(axis=1)] + 2  # after the header, and counted from 1
    if len(lines) or not Path(path).read_bytes().endswith(b"\n"):
        raise InputError(
            f"{path}: is cut off, or a line is broken ({lines[0] if len(lines) else 'the last'}); "
            "prepare the corpus again."
        )
    try:
        table["duration_seconds"] = table["duration_seconds"].astype(float)
    except ValueError as error:
        raise InputError(f"{path}: duration_seconds must be numbers; {error}.") from error
    _check_spelling(table, path)
    check_manifest(table, source=path)
    return table[list(COLUMNS)]


def _check_spelling(table: pd.DataFrame, path: Path) -> None:
    """Refuses names with more than is shown, and tells those that may be one, after an edit."""
    for column in ("emotion", "speaker", "gender"):
        spare = [name for name in table[column].unique() if name != as_shown(name)]
        lines = table.loc[table[column].isin(spare), column]
        refuse(
            [f"{name!r} in line {line + 2}" for line, name in lines.items()],
            f"{path}: {column} must have no space around it or doubled, and no hidden character",
            "Take them out, or prepare the corpus again.",
        )
    known = (read_record(Path(path)) or {"counts": {}})["counts"].get("doubts", [])
    for names in spelt_alike(table):
        if not any(all(name in doubt for name in names) for doubt in known):
            print(
                f"doubt: {path}: {', '.join(names)} may be one; write them alike", file=sys.stderr
            )


def check_ids(table: pd.DataFrame, *, source: Path, in_folders: bool = False) -> None:
    """Checks that no two clips have the same id.

    Args:
        table: Columns `utterance_id` and `path`.
        source: File or folder to name in errors.
        in_folders: Whether the clips were found in folders, and not listed.

    Raises:
        InputError: If there are duplicates; it names the folder that holds each once, if one does.
    """
    ids, paths = table["utterance_id"], table["path"]
    twins = table[ids.duplicated(keep=False)].sort_values("utterance_id", kind="stable")
    copies = paths[ids == twins["utterance_id"].iloc[0]] if in_folders and len(twins) else []
    step = ""
    for folder in (folder for path in copies for folder in PurePath(path).parents[:-1]):
        inside = ids[paths.str.startswith(f"{folder}/")]
        if len(inside) == inside.nunique() == ids.nunique():
            step = f"The folder {folder} holds each once: let --audio-dir end there."
            break
    rule = "utterance ids must be unique, so remove copies or let ids include folders; shared are"
    refuse(twins["utterance_id"] + " by " + twins["path"], f"{source}: {rule}", step)


def check_manifest(table: pd.DataFrame, *, source: Path) -> None:
    """Checks the rules for manifests.

    Args:
        table: Columns `COLUMNS`.
        source: File or folder to name in errors.

    Raises:
        InputError: As `check_rows`, or if a duration is not above 0, or longer than a day.
    """
    check_rows(table, source=source)
    seconds = table["duration_seconds"]
    endless = table["utterance_id"] + " " + seconds.astype(str)
    rule = f"duration_seconds must be above 0, and {_LONGEST_SECONDS} at most"
    refuse(endless[~((seconds > 0) & (seconds <= _LONGEST_SECONDS))], f"{source}: {rule}")


def check_rows(table: pd.DataFrame, *, source: Path) -> None:
    """Checks what can be checked before any clip is decoded.

    Args:
        table: Columns `COLUMNS`, but for `duration_seconds`.
        source: File or folder to name in errors.

    Raises:
        InputError: If there is no clip, an id is a duplicate or malformed, a split is not train,
            val or test, a speaker is in two splits, no clip of train has a label although others
            validate or test, or a class of these has no clip in train.
    """
    if table.empty:
        raise InputError(f"{source}: holds no clip; check the folder and the corpus name.")
    check_ids(table, source=source)
    ids, splits = table["utterance_id"], table["split"]
    malformed = ids[ids.str.contains(r"[\t\r\n]") | (ids == "")]
    refuse(malformed, f"{source}: ids must not be empty or contain tabs or line ends")
    unknown = splits[~splits.isin(SPLITS)].drop_duplicates()
    rule = f"{source}: a split must be one of {', '.join(SPLITS)}; there are others"
    refuse(
        map(repr, unknown),
        rule,
        "Rename them in the column split, or divide anew: prepare-corpus --split.method balanced.",
    )
    known = table[table["speaker"] != ""]
    places = known.groupby("speaker")["split"].unique()
    divided = [
        f"{name}: in {' and '.join(found)}" for name, found in places.items() if len(found) > 1
    ]
    refuse(
        divided,
        f"{source}: a speaker must be in one split only",
        "Divide anew (prepare-corpus --split.method balanced); a table without the column speaker "
        "keeps its splits, but scores then say nothing about other voices.",
    )
    labelled = table[table["emotion"] != ""]
    trained = set(labelled.loc[labelled["split"] == "train", "emotion"])
    untrained = sorted(set(labelled["emotion"]) - trained)
    refuse(
        untrained,
        f"{source}: every class needs clips in the training split; these have none",
        "Leave them out (prepare-corpus --leave-out), or choose another --split.method or "
        "--split.seed.",
    )
    if not trained and (splits != "train").any():  # else speech without labels
        raise InputError(f"{source}: no clip has an emotion; at least those of train need one.")


def longest_training_clip(table: pd.DataFrame, *, source: Path) -> pd.Series:
    """Finds the clip to whose length all others are brought where no length is given.

    Clips of validation and test decide nothing.

    Args:
        table: A manifest.
        source: File to name in errors.

    Returns:
        Its row.

    Raises:
        InputError: If it would stretch all others, as `check_longest` says.

    Example:
        >>> manifest = Path("manifest.csv")
        >>> longest_training_clip(read_manifest(manifest), source=manifest)["split"]
        'train'
    """
    trained = table[table["split"] == "train"]
    durations = trained["duration_seconds"]
    longest = trained.loc[durations.idxmax()]
    seconds = longest["duration_seconds"]
    check_longest(seconds, len(trained), durations.sum(), f"{source}: {longest['path']}")
    return longest


def check_longest(longest: float, clips: int, total: float, name: str) -> None:
    """Refuses the longest clip as the length of all where the others are far shorter.

    Args:
        longest: Seconds of the longest clip.
        clips: Number of clips.
        total: Seconds of all of them.
        name: What to name in errors.

    Raises:
        InputError: If it lasts more than a minute, and more than five times the mean of the
            others.
    """
    others = (total - longest) / max(1, clips - 1)
    if clips > 1 and longest > max(_LONG_SECONDS, _LONG_FACTOR * others):
        raise InputError(
            f"{name} lasts {longest:g} s, the other training clips {others:.1f} s on average, and "
            "all would be repeated to its length; give --clip-seconds, or cut or remove this clip."
        )


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Writes a manifest, sorted by id.

    Args:
        table: Columns `COLUMNS`, as `check_manifest` requires, and maybe `sound`, a digest of each
            clip's samples: so a manifest is another one, and what was made from the former is not
            up to date, once a sound was replaced by one that is as long.
        path: The CSV file.
    """
    columns = [*COLUMNS, *table.columns.intersection(["sound"])]
    table = table.sort_values("utterance_id")[columns]
    table.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def audio_paths(table: pd.DataFrame, manifest: Path, audio_dir: Path | None) -> list[Path]:
    """Finds the audio files of a manifest's clips, and checks that they last as long as these.

    So audio that was replaced after the manifest was made is told, unless it is as long. Headers
    decide; a file without one, or with another length, is decoded.

    Args:
        table: Rows of the manifest.
        manifest: File of the manifest, for the audio root recorded beside it.
        audio_dir: The audio root; None takes the recorded one.

    Returns:
        One existing path per row.

    Raises:
        InputError: If no audio root is known, files are missing, or one lasts longer or shorter
            than its clip by more than `DURATION_TOLERANCE_SECONDS`.

    Example:
        >>> manifest = Path("manifest.csv")
        >>> paths = audio_paths(read_manifest(manifest), manifest, Path("audio"))
        >>> len(paths), str(paths[0])
        (36, 'audio/Actor_01/03-01-01-01-01-01-01.wav')
    """
    if audio_dir is None:
        record = read_record(Path(manifest))
        if record is None or "audio_dir" not in record["paths"]:
            raise InputError(
                f"{manifest}: has no record beside it that says where its audio is; prepare the "
                "corpus again, or pass --audio-dir to a script that takes it."
            )
        audio_dir = Path(record["paths"]["audio_dir"])
    paths = [Path(audio_dir) / path for path in table["path"]]
    missing = [str(path) for path in paths if not is_file(path)]
    refuse(
        missing, f"{manifest}: files are missing below {audio_dir} (restore or pass --audio-dir)"
    )
    with ThreadPoolExecutor() as pool:
        others = [*pool.map(_other_seconds, paths, table["duration_seconds"])]
    refuse(
        [
            f"{row.utterance_id} {row.duration_seconds:g} s, {path} {seconds:g} s"
            for row, path, seconds in zip(table.itertuples(), paths, others, strict=True)
            if seconds is not None
        ],
        f"{manifest}: clips do not last as long as their audio, which may have changed since",
        "Prepare the corpus again.",
    )
    return paths


def _other_seconds(path: Path, claimed: float) -> float | None:
    """Seconds of an audio file; None if they are those that a manifest claims."""
    try:
        seconds = soundfile.info(path).duration
    except soundfile.SoundFileError:  # ffmpeg may read it
        seconds = math.nan
    if not abs(seconds - claimed) <= DURATION_TOLERANCE_SECONDS:  # headers may lack the length
        seconds = len(read_audio(path)) / SAMPLE_RATE_HZ
    return None if abs(seconds - claimed) <= DURATION_TOLERANCE_SECONDS else seconds


def is_file(path: Path) -> bool:
    """Returns whether there is a file, also where the path is none, such as a sentence."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
