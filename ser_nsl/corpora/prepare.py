"""The stage that reads a corpus, checks each clip, and divides the speakers."""

from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from tqdm import tqdm

from ser_nsl.audio import clip as audio
from ser_nsl.corpora.description import Corpus, lists_known_corpora, load_corpus
from ser_nsl.corpora.manifest import check_ids, check_manifest, write_manifest
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.corpora.splits import assign_splits
from ser_nsl.corpora.table import check_name, find_speakers, read_folder_name, read_table
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_SHORTEST_SECONDS = 512 / audio.SAMPLE_RATE_HZ  # one window of the default front end


@stage(inputs=("audio_dir", "table"), makes="file")
@lists_known_corpora
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
        corpus: How names are read: a known corpus (KNOWN),
            the path of a YAML file that describes one, `folder` for one subfolder per emotion
            (EMOTION/FILE or EMOTION/SPEAKER/FILE), or `csv` for a table of clips.
        audio_dir: Folder with the clips (WAV, FLAC, OGG, MP3), at any depth.
        out: The manifest, a CSV file.
        table: The table of clips for `csv`: columns path and emotion, and speaker, gender, split,
            utterance_id where known.
        leave_out: Emotions to leave out, e.g. neutral; the corpus must have them.
        label_map: Other names for emotions, in pairs, e.g. angry anger happy happiness. Two
            emotions of one name are one class.
        columns: For `csv`: the table's own names for columns, in pairs, e.g. path file emotion
            label.
        speaker_pattern: Regular expression with the group speaker, which finds the speaker in a
            clip's path, e.g. "(?P<speaker>[a-z]+)_"; for `folder` and `csv` above all.
        split: How to divide speakers into train, val and test.
        skip_bad: Leave out clips with unreadable names or bad audio instead of stopping; they are
            counted and named.

    Returns:
        Number of clips, speakers, clips of each split and hours; number of files that the
        description of the corpus leaves out, by what they are; the dropped clips with the reason.

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
    if columns and table is None:
        raise InputError("columns: are those of a table; give it as --corpus csv --table FILE.")
    described = None if corpus in ("folder", "csv") else load_corpus(corpus)
    named = f"{corpus}: " if Path(corpus).suffix else ""  # a user's YAML file
    source = table or audio_dir
    dropped: list[str] = []
    left_out: Counter[str] = Counter()
    if table is not None:
        rows = read_table(table, columns)
    else:
        rows = _read_names(audio_dir, described, dropped, left_out)
        dropped = [f"{named}{reason}" for reason in dropped]
    if speaker_pattern is not None:
        rows["speaker"] = find_speakers(rows["path"], speaker_pattern)
        nameless = rows.loc[rows["speaker"].isna(), "path"]
        dropped += [f"{path}: {speaker_pattern!r} finds no speaker." for path in nameless]
        rows = rows.dropna(subset="speaker")
    emotions = set(rows["emotion"] if described is None else described.labels.values())
    _check_emotions("label_map", label_map, emotions)
    rows["emotion"] = rows["emotion"].replace(label_map)
    _check_emotions("leave_out", leave_out, {label_map.get(name or "", name) for name in emotions})
    rows = rows[~rows["emotion"].isin(leave_out)].reset_index(drop=True)
    check_ids(rows, source=Path(corpus) if named else source)
    _refuse(dropped, skip_bad)
    rows["duration_seconds"] = _durations([audio_dir / path for path in rows["path"]], dropped)
    _refuse(dropped, skip_bad)
    rows = rows.dropna(subset="duration_seconds").reset_index(drop=True)
    if rows.empty:
        _refuse(dropped)
        raise InputError(
            f"audio_dir: {audio_dir} holds no clip of {described.title if described else corpus} "
            f"(left out: {left_out.total()}); audio files end in {', '.join(audio.SUFFIXES)}."
        )
    rows["corpus"] = Path(corpus).stem
    rows["split"] = assign_splits(rows, described, split)
    check_manifest(rows, source=source)
    write_manifest(rows, out)
    return {
        "clips": len(rows),
        "speakers": rows["speaker"].nunique(),
        "splits": rows["split"].value_counts().to_dict(),
        "hours": round(float(rows["duration_seconds"].sum()) / 3600, 3),
        **({"left_out": dict(left_out)} if left_out else {}),
        "dropped": dropped,
    }


def _read_names(
    audio_dir: Path, corpus: Corpus | None, dropped: list[str], left_out: Counter[str]
) -> pd.DataFrame:
    """Reads every audio file's name.

    Names that cannot be read go to `dropped` with the reason; files that the corpus leaves out are
    counted in `left_out`.
    """
    emotions = corpus.read_tables(audio_dir) if corpus else {}
    rows = []
    for path in sorted(audio_dir.rglob("*")):
        if path.suffix.lower() not in audio.SUFFIXES or path.name.startswith("."):
            continue
        relative = PurePath(path.relative_to(audio_dir))
        try:
            check_name(relative)
            clip = corpus.read(relative, emotions) if corpus else read_folder_name(relative)
        except InputError as error:
            dropped.append(str(error))
            continue
        if isinstance(clip, str):
            left_out[clip] += 1
        else:
            rows.append({"path": relative.as_posix(), **vars(clip)})
    return pd.DataFrame(rows, columns=["path", "utterance_id", "speaker", "gender", "emotion"])


def _check_emotions(name: str, given: Collection[str], emotions: Collection[str | None]) -> None:
    """Refuses emotions that the corpus does not have."""
    known = sorted(filter(None, emotions))
    unknown = [emotion for emotion in given if emotion not in known]
    if known and unknown:
        raise InputError(
            f"{name}: must name emotions of the corpus; received {', '.join(unknown)}. It has "
            f"{', '.join(known)}."
        )


def _durations(paths: list[Path], dropped: list[str]) -> list[float | None]:
    """Decodes every clip; None for bad ones, whose reasons go to `dropped`."""
    durations: list[float | None] = []
    with ThreadPoolExecutor() as pool:
        results = pool.map(_duration, paths)
        for result in tqdm(results, total=len(paths), desc="checking clips", unit="clip"):
            durations.append(None if isinstance(result, str) else result)
            dropped += [result] if isinstance(result, str) else []
    return durations


def _duration(path: Path) -> float | str:
    """Returns the seconds of a clip, or what is wrong with it."""
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


def _refuse(dropped: list[str], skip_bad: bool = False) -> None:
    """Raises one error for a list of reasons, if there are any."""
    if dropped and not skip_bad:
        more = f" ({len(dropped) - 1} more like it.)" if len(dropped) > 1 else ""
        raise InputError(f"{dropped[0]}{more} --skip-bad goes on without.")
