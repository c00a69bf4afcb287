"""`manifest.csv`: one row a clip, the only thing later stages know of a corpus.

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

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ser_nsl.corpora.description import Corpus, known_corpora, load_corpus
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import read_record

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
SPLITS = ("train", "val", "test")


def training_data_note(table: pd.DataFrame) -> str:
    """Returns the note on licences that goes with a model made from a manifest.

    Args:
        table: A manifest.
    """
    names = sorted(set(table["corpus"]))
    licences = [(known := _known(name)) and known.licence or "terms unknown" for name in names]
    terms = [f"{corpus_title(name)} ({text})" for name, text in zip(names, licences, strict=True)]
    return f"Made from {', '.join(terms)}, whose terms bind those who use it."


def corpus_title(name: str) -> str:
    """Returns the title of a known corpus, or the given name."""
    known = _known(name)
    return name if known is None else known.title


def _known(name: str) -> Corpus | None:
    return load_corpus(name) if name in known_corpora() else None


def read_manifest(path: Path) -> pd.DataFrame:
    """Reads and checks a manifest.

    Args:
        path: The CSV file.

    Returns:
        One row a clip, columns `COLUMNS`; text everywhere but in `duration_seconds`.

    Raises:
        InputError: If the file is missing, is no CSV, or breaks a rule of `check_manifest`.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: does not exist; make it with tools/prepare_corpus.py."
        ) from error
    except (
        OSError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f"{path}: is not a CSV table ({error}).") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; a manifest has the columns "
            f"{', '.join(COLUMNS)}."
        )
    try:
        table["duration_seconds"] = table["duration_seconds"].astype(float)
    except ValueError as error:
        raise InputError(f"{path}: duration_seconds must be numbers; {error}.") from error
    check_manifest(table, source=path)
    return table[list(COLUMNS)]


def check_manifest(table: pd.DataFrame, *, source: Path) -> None:
    """Checks the rules that every manifest keeps.

    Args:
        table: Columns `COLUMNS`.
        source: File or folder to name in errors.

    Raises:
        InputError: If there is no clip, an id is doubled or malformed, a split has another
            name than train, val and test, a speaker stands in two splits, no clip of train has
            a label, or a class of validation or test has no clip in train.
    """
    if table.empty:
        raise InputError(f"{source}: holds no clip; check the folder and the corpus name.")
    ids = table["utterance_id"]
    _refuse(ids[ids.duplicated()], source, "utterance ids must be unique, but these are doubled")
    _refuse(ids[ids.str.contains(r"[\t\r\n]") | (ids == "")], source, "ids hold a tab or are empty")
    splits = table["split"]
    _refuse(
        splits[~splits.isin(SPLITS)].drop_duplicates(),
        source,
        f"a split must be one of {SPLITS}",
    )
    known = table[table["speaker"] != ""]
    homes = known.groupby("speaker")["split"].unique()
    _refuse(
        homes[homes.map(len) > 1].map(lambda home: f"in {' and '.join(home)}").items(),
        source,
        "a speaker must stand in one split only",
    )
    labelled = table[table["emotion"] != ""]
    trained = set(labelled.loc[labelled["split"] == "train", "emotion"])
    _refuse(
        sorted(set(labelled["emotion"]) - trained),
        source,
        "every class needs clips in the training split, but these have none",
    )
    if not trained:
        raise InputError(f"{source}: no clip has an emotion; at least those of train need one.")


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Writes a manifest, sorted by id.

    Args:
        table: Columns `COLUMNS`, as `check_manifest` wants it.
        path: The CSV file.
    """
    table = table.sort_values("utterance_id")[list(COLUMNS)]
    table.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def audio_paths(table: pd.DataFrame, manifest: Path, audio_dir: Path | None) -> list[Path]:
    """Finds the clips of a manifest.

    Args:
        table: The manifest's rows.
        manifest: Its file, for the audio root recorded beside it.
        audio_dir: The audio root; the recorded one when None.

    Returns:
        One existing path a row.

    Raises:
        InputError: If no audio root is known or files are missing.
    """
    if audio_dir is None:
        record = read_record(Path(manifest))
        if record is None or "audio_dir" not in record["paths"]:
            raise InputError(
                f"{manifest}: no record beside it tells where its audio is; prepare the corpus "
                "again, or pass --audio-dir to a script that takes it."
            )
        audio_dir = Path(record["paths"]["audio_dir"])
    paths = [Path(audio_dir) / path for path in table["path"]]
    _refuse(
        [path for path in paths if not path.is_file()],
        manifest,
        f"files are missing below {audio_dir} (restore them or pass --audio-dir)",
    )
    return paths


def _refuse(offenders: Iterable[Any], source: Path, rule: str) -> None:
    """Raises with the first three offenders, if there are any."""
    offenders = [": ".join(item) if isinstance(item, tuple) else str(item) for item in offenders]
    if offenders:
        first = ", ".join(offenders[:3])
        raise InputError(f"{source}: {rule} ({len(offenders)}; first: {first}).")
