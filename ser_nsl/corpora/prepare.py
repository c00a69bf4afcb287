"""The stage that reads a corpus, checks each clip, and splits the speakers."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from tqdm import tqdm

from ser_nsl.audio import clip as audio
from ser_nsl.corpora.description import Clip, Corpus, load_corpus
from ser_nsl.corpora.manifest import check_manifest, write_manifest
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.corpora.splits import assign_splits
from ser_nsl.corpora.table import read_folder_name, read_table
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_SHORTEST_SECONDS = 512 / audio.SAMPLE_RATE_HZ  # one window of the default front end


@stage(inputs=("audio_dir", "table"), makes="file")
def prepare_corpus(
    *,
    corpus: str,
    audio_dir: Path,
    out: Path,
    table: Path | None = None,
    leave_out: tuple[str, ...] = (),
    label_map: dict[str, str] = {},  # noqa: B006 (never changed)
    columns: dict[str, str] = {},  # noqa: B006 (never changed)
    speaker_pattern: str | None = None,
    split: SplitConfig = SplitConfig(),  # noqa: B008 (frozen)
    skip_bad: bool = False,
) -> Mapping[str, Any]:
    """Reads a corpus, checks each clip, divides the speakers, and writes the manifest.

    Args:
        corpus: How names are read: a known corpus (cafe, crema_d, demos, emodb, emodb2, emovo,
            iemocap, ravdess, savee, shemo, subesco, tess), the path of a YAML file that describes
            one, `folder` for one subfolder per emotion (EMOTION/FILE or EMOTION/SPEAKER/FILE), or
            `csv` for a table of clips.
        audio_dir: Folder with the clips (WAV, FLAC, OGG, MP3), at any depth.
        out: The manifest, a CSV file.
        table: The table of clips for `csv`: columns path and emotion, and speaker, gender, split,
            utterance_id where known.
        leave_out: Emotions to leave out, e.g. neutral; the corpus must have them.
        label_map: For `folder` and `csv`: other names for its emotions, in pairs, e.g. angry anger
            happy happiness.
        columns: For `csv`: the table's own names for columns, in pairs, e.g. path file emotion
            label.
        speaker_pattern: For `folder` and `csv`: regular expression with the group speaker, which
            finds the speaker in a clip's path, e.g. "(?P<speaker>[a-z]+)_".
        split: How to divide speakers into train, val and test.
        skip_bad: Leave out clips with unreadable names or bad audio instead of stopping; they are
            counted and named.

    Returns:
        Number of clips, speakers, clips of each split and hours; clips that the description of the
        corpus leaves out, and the dropped ones with the reason.

    Raises:
        InputError: If the description of the corpus, a clip or its name (without `skip_bad`), an
            emotion to leave out, or a rule of the manifest is at fault.

    Example:
        >>> audio_dir, out = Path("audio"), Path("other.csv")
        >>> made = prepare_corpus(
        ...     corpus="ravdess", audio_dir=audio_dir, out=out, leave_out=("anger",)
        ... )
        >>> made.counts["clips"], made.counts["speakers"]
        (24, 6)
    """
    if (corpus == "csv") != (table is not None):
        raise InputError("table: the corpus 'csv', and no other, needs a table of clips.")
    described = None if corpus in ("folder", "csv") else load_corpus(corpus)
    _check_options(described, table, label_map, columns, speaker_pattern)
    dropped: list[str] = []
    if table is not None:
        rows, ignored = read_table(table, columns, speaker_pattern), 0
    else:
        read = _reader(described, audio_dir, speaker_pattern)
        rows, ignored = _read_names(audio_dir, read, dropped)
    rows["emotion"] = rows["emotion"].replace(label_map)
    _check_left_out(leave_out, rows["emotion"] if described is None else described.labels.values())
    rows = rows[~rows["emotion"].isin(leave_out)].reset_index(drop=True)
    if rows.empty:
        _refuse(dropped)
        raise InputError(
            f"audio_dir: {audio_dir} holds no clip of {described.title if described else corpus}; "
            f"audio files end in {', '.join(audio.SUFFIXES)}."
        )
    if not skip_bad:
        _refuse(dropped)
    rows["duration_seconds"] = _durations(
        [Path(audio_dir) / path for path in rows["path"]], dropped
    )
    if not skip_bad:
        _refuse(dropped)
    rows = rows.dropna(subset="duration_seconds").reset_index(drop=True)
    rows["corpus"] = Path(corpus).stem
    rows["split"] = assign_splits(rows, corpus, split)
    check_manifest(rows, source=audio_dir if table is None else table)
    write_manifest(rows, out)
    return {
        "clips": len(rows),
        "speakers": rows["speaker"].nunique(),
        "splits": rows["split"].value_counts().to_dict(),
        "hours": round(float(rows["duration_seconds"].sum()) / 3600, 3),
        **({"left_out_by_description": ignored} if ignored else {}),
        "dropped": dropped,
    }


def _check_options(
    described: Corpus | None,
    table: Path | None,
    label_map: Mapping[str, str],
    columns: Mapping[str, str],
    speaker_pattern: str | None,
) -> None:
    if described is not None and (label_map or speaker_pattern):
        raise InputError(
            f"label_map, speaker_pattern: are for folder and csv; {described.title} has its labels "
            "and pattern in its YAML file. Copy and change that, and give its path as --corpus."
        )
    if columns and table is None:
        raise InputError("columns: are those of a table; give it as --corpus csv --table FILE.")


def _reader(
    described: Corpus | None, audio_dir: Path, speaker_pattern: str | None
) -> Callable[[PurePath], Clip | None]:
    if described is None:
        return lambda path: read_folder_name(path, speaker_pattern)
    emotions = described.read_tables(audio_dir)
    return lambda path: described.read(path, emotions)


def _check_left_out(leave_out: tuple[str, ...], emotions: Iterable[str | None]) -> None:
    known = sorted(emotion for emotion in {*emotions} if emotion)
    unknown = [emotion for emotion in leave_out if emotion not in known]
    if known and unknown:
        raise InputError(
            f"leave_out: must be emotions of the corpus; received {', '.join(unknown)}. It has "
            f"{', '.join(known)}."
        )


def _read_names(
    audio_dir: Path, read: Callable[[PurePath], Clip | None], dropped: list[str]
) -> tuple[pd.DataFrame, int]:
    """Reads every audio file's name, and counts those that are left out on purpose.

    Names that cannot be read go to `dropped` with the reason.
    """
    root, rows, ignored = Path(audio_dir), [], 0
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in audio.SUFFIXES or path.name.startswith("."):
            continue
        relative = PurePath(path.relative_to(root))
        try:
            clip = read(relative)
        except InputError as error:
            dropped.append(str(error))
            continue
        if clip is None:
            ignored += 1
        else:
            rows.append({"path": relative.as_posix(), **vars(clip)})
    columns = ["path", "utterance_id", "speaker", "gender", "emotion"]
    return pd.DataFrame(rows, columns=columns), ignored


def _durations(paths: list[Path], dropped: list[str]) -> list[float | None]:
    """Decodes every clip; None for bad ones, whose reasons go to `dropped`."""
    with ThreadPoolExecutor() as pool:
        results = list(
            tqdm(pool.map(_duration, paths), total=len(paths), desc="checking clips", unit="clip")
        )
    dropped += [result for result in results if isinstance(result, str)]
    return [None if isinstance(result, str) else result for result in results]


def _duration(path: Path) -> float | str:
    """Seconds of a clip, or what is wrong with it."""
    try:
        seconds = len(audio.read_audio(path)) / audio.SAMPLE_RATE_HZ
    except InputError as error:
        return str(error)
    if seconds < _SHORTEST_SECONDS:
        return (
            f"{path}: lasts {seconds:.3f} s, shorter than one window of {_SHORTEST_SECONDS:.3f} s; "
            "remove it."
        )
    return seconds


def _refuse(dropped: list[str]) -> None:
    """Makes one error of a list of reasons, if there are any."""
    if dropped:
        more = f" ({len(dropped) - 1} more like it.)" if len(dropped) > 1 else ""
        raise InputError(f"{dropped[0]}{more} --skip-bad goes on without.")
