"""The stage that reads a corpus, checks each clip, and divides the speakers."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from ser_nsl.audio import clip as audio
from ser_nsl.audio.folders import SUFFIXES, find_audio
from ser_nsl.corpora import found
from ser_nsl.corpora.description import (
    Corpus,
    corpora_named_like,
    known_corpora,
    lists_known_corpora,
    load_corpus,
)
from ser_nsl.corpora.manifest import (
    check_ids,
    check_manifest,
    check_rows,
    is_file,
    write_manifest,
)
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.corpora.splits import assign_splits, describe_splits, doubts_of_lists
from ser_nsl.corpora.table import (
    check_name,
    find_speakers,
    read_folder_name,
    read_speech_name,
    read_table,
)
from ser_nsl.errors import InputError, check_unused, printable
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage

SPEECH = "speech"
"""Name of the corpus that is any folder of speech without labels."""

_OWN = ("folder", "csv", SPEECH)  # corpora that no description describes
_SHORTEST_SECONDS = 512 / audio.SAMPLE_RATE_HZ  # one window of the default front end


@dataclass(frozen=True)
class Reading:
    """What names or a table say about a corpus, before any clip is decoded.

    Attributes:
        rows: The clips, as in a manifest, without `duration_seconds`.
        source: The table or the audio root, to be named in errors.
        left_out: Number of files that the description of the corpus leaves out, by what they are.
        not_read: Number of files that are no audio, and of hidden folders, by kind.
        unread: The same in words, with the first names.
        dropped: Why other files cannot be read.
        doubts: What looks wrong, each with the line that settles it.
    """

    rows: pd.DataFrame
    source: Path
    left_out: Counter[str]
    not_read: dict[str, int]
    unread: str
    dropped: list[str]
    doubts: list[str]

    def __str__(self) -> str:
        """What was found and what is doubted, a line each."""
        lines = [f"found {len(self.rows):,} clips", *found.describe(self.rows)]
        lines += describe_splits(self.rows)
        lines += [self.unread] if self.unread else []
        lines += [f"doubt: {doubt}" for doubt in self.doubts]
        return "\n    ".join(map(printable, lines))


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
    name: str | None = None,
    split: SplitConfig = SplitConfig(),  # noqa: B008 (frozen)
    skip_bad: bool = False,
) -> Mapping[str, Any]:
    """Reads a corpus, checks each clip, divides the speakers, and writes the manifest.

    What names or table say is printed before any clip is decoded: emotions, speakers, splits, and
    what looks wrong, with the line that settles it.

    Args:
        corpus: How names are read: a known corpus (KNOWN),
            the path of a YAML file that describes one, `folder` for one subfolder per emotion
            (EMOTION/FILE or EMOTION/SPEAKER/FILE), `csv` for a table of clips, or `speech` for
            speech without labels, all of which trains.
        audio_dir: Folder with the clips, at any depth, in any format that `predict` reads; hidden
            folders are skipped.
        out: The manifest, a CSV file.
        table: The table of clips for `csv`, separated by commas, semicolons or tabs: columns path
            and emotion, and speaker, gender, split, utterance_id where known.
        leave_out: Emotions to leave out, e.g. neutral; the corpus must have them.
        label_map: Other names for emotions, in pairs, e.g. angry anger happy happiness. Two
            emotions of one name are one class; clips of an empty name are unlabelled.
        columns: For `csv`: the table's own names for columns, in pairs, e.g. path file emotion
            label.
        speaker_pattern: Regular expression with the group speaker, which finds the speaker in a
            clip's path, e.g. "(?P<speaker>[a-z]+)_"; for `folder` and `csv` above all.
        name: Name of the corpus in reports and cards, for `folder` and `csv`.
        split: How to divide speakers into train, val and test.
        skip_bad: Leave out clips with unreadable names or bad audio instead of stopping; they are
            counted and named.

    Returns:
        Number of clips, speakers, clips of each split and hours; number of files that the
        description of the corpus leaves out, by what they are, and of those that are not read, by
        their suffixes; the doubts; the dropped clips with the reason.

    Raises:
        InputError: If the description of the corpus, a clip or its name (without `skip_bad`), an
            emotion to leave out, or a rule of the manifest is at fault.

    Example:
        >>> audio_dir, out = Path("audio"), Path("other.csv")
        >>> made = prepare_corpus(
        ...     corpus="ravdess", audio_dir=audio_dir, out=out, leave_out=("anger",)
        ... )
        found 24 clips
            2 emotions: neutral 12, sadness 12
            6 speakers: 01 4, 02 4, 03 4, 04 4, 05 4, 06 4; 3 male, 3 female
            train: 12 clips (50%); speakers: 02, 03, 04
            val: 4 clips (17%); speakers: 01
            test: 8 clips (33%); speakers: 05, 06
        >>> made.counts["clips"], made.counts["speakers"]
        (24, 6)
    """
    reading = read_corpus(
        CorpusConfig(
            corpus=corpus,
            audio_dir=audio_dir,
            table=table,
            leave_out=leave_out,
            label_map=label_map,
            columns=columns,
            speaker_pattern=speaker_pattern,
            name=name,
            skip_bad=skip_bad,
            split=split,
        )
    )
    print(reading, flush=True)
    rows, dropped, doubts = reading.rows, reading.dropped, reading.doubts
    seconds, sounds = _decode([audio_dir / path for path in rows["path"]], dropped)
    rows = rows.assign(duration_seconds=seconds, sound=sounds)
    rows = rows.dropna(subset="duration_seconds").reset_index(drop=True)
    _refuse(dropped, rows, skip_bad)
    check_manifest(rows, source=reading.source)
    copies = found.doubts_of_sounds(rows)
    for doubt in copies:
        print(f"    doubt: {printable(doubt)}", flush=True)
    doubts += copies
    write_manifest(rows, out)
    return {
        "clips": len(rows),
        "speakers": len({*rows["speaker"]} - {""}),
        "splits": rows["split"].value_counts().to_dict(),
        "hours": round(float(rows["duration_seconds"].sum()) / 3600, 3),
        **({"left_out": dict(reading.left_out)} if reading.left_out else {}),
        **({"not_read": reading.not_read} if reading.not_read else {}),
        **({"doubts": doubts} if doubts else {}),
        "dropped": dropped,
    }


def read_corpus(config: CorpusConfig) -> Reading:
    """Reads the names or the table of a corpus, and divides its clips; decodes none of them.

    Whatever can be refused before decoding is refused here.

    Args:
        config: The corpus, with its `audio_dir`.

    Returns:
        The clips and what is to be said about them.

    Raises:
        InputError: As `prepare_corpus`.

    Example:
        >>> reading = read_corpus(CorpusConfig("ravdess", audio_dir=Path("audio")))
        >>> print(str(reading).splitlines()[0], len(reading.doubts))
        found 36 clips 0
    """
    _check_settings(config)
    corpus, audio_dir, table = config.corpus, Path(config.audio_dir or ""), config.table
    described = None if corpus in _OWN else load_corpus(corpus)
    if not audio_dir.is_dir():
        raise InputError(f"audio_dir: {audio_dir} is no folder; give the one that holds the clips.")
    name = _name(config)
    source = Path(table or audio_dir)
    dropped: list[str] = []
    left_out: Counter[str] = Counter()
    not_read: dict[str, int] = {}
    unread = ""
    if table is not None:
        rows, doubts = read_table(table, config.columns)
        rows = _find_files(rows, audio_dir, dropped)
        if "split" in rows and config.split.method != "given":
            doubts.append(f"{table}: its splits are not used; if they should: --split.method given")
    else:
        listing = find_audio(audio_dir)
        not_read, unread = listing.not_read, str(listing)
        rows, doubts, dropped = _read_folder(config, described, listing.clips, left_out)
    if config.speaker_pattern is not None:
        rows["speaker"] = find_speakers(rows["path"], config.speaker_pattern)
        nameless = rows.loc[rows["speaker"].isna(), "path"]
        dropped += [f"{path}: {config.speaker_pattern!r} finds no speaker." for path in nameless]
        rows = rows.dropna(subset="speaker")
    rows, changes = found.tidy(rows)
    rows = _rename(rows, described, config).reset_index(drop=True)
    described_in = Path(corpus) if _is_file_of_user(corpus) else source
    check_ids(rows, source=described_in, in_folders=table is None)
    _refuse(dropped, rows, config.skip_bad)
    if rows.empty:
        raise InputError(
            f"audio_dir: {audio_dir} holds no clip of {described.title if described else corpus} "
            f"(left out: {left_out.total()}{f'; {unread}' if unread else ''}); audio files end in "
            f"{', '.join(SUFFIXES[:4])}, ..."
        )
    doubts = changes + doubts + found.doubts(rows, audio_dir, is_table=table is not None)
    rows["corpus"] = name
    try:
        _divide(rows, described, config, source, doubts)
    except InputError as error:
        said = "; ".join([*found.describe(rows), *doubts[:1]])
        raise InputError(f"{error} Found {len(rows):,} clips: {said}") from error
    return Reading(rows, source, left_out, not_read, unread, dropped, doubts)


def _check_settings(config: CorpusConfig) -> None:
    """Refuses settings that the kind of corpus has no use for."""
    if (config.corpus == "csv") != (config.table is not None):
        raise InputError("table: the corpus 'csv', and no other, needs a table of clips.")
    if config.columns and config.table is None:
        raise InputError("columns: are those of a table; give it as --corpus csv --table FILE.")
    if config.corpus == SPEECH:
        check_unused(
            f"with --corpus {SPEECH}, whose clips have no emotion and all train",
            leave_out=(config.leave_out, ()),
            label_map=(config.label_map, {}),
            split=(config.split, SplitConfig()),
        )


def _divide(
    rows: pd.DataFrame,
    described: Corpus | None,
    config: CorpusConfig,
    source: Path,
    doubts: list[str],
) -> None:
    """Adds the splits to the rows, and to the doubts those of listed speakers."""
    is_speech = config.corpus == SPEECH
    rows["split"] = "train" if is_speech else assign_splits(rows, described, config.split)
    if not is_speech and not (rows["emotion"] != "").any():
        raise InputError(
            f"{source}: no clip has an emotion; for speech without labels "
            f"give --corpus {SPEECH} --audio-dir FOLDER."
        )
    doubts += doubts_of_lists(rows, config.split)
    if config.split.method == "clips":  # the voices of all splits are the same
        rows["speaker"] = ""
    check_rows(rows, source=source)


def _is_file_of_user(corpus: str) -> bool:
    """Whether a YAML file of the user's describes the corpus."""
    return bool(Path(corpus).suffix)


def _name(config: CorpusConfig) -> str:
    """Name of the corpus in its manifest."""
    if config.name is None:
        return Path(config.corpus).stem
    if config.corpus not in _OWN:
        raise InputError(
            f"name: is for the corpora {', '.join(_OWN)}; {config.corpus} has one of its own."
        )
    if not config.name.isprintable() or not config.name.strip():
        raise InputError(f"name: must be printable text on one line; received {config.name!r}.")
    if config.name in known_corpora():
        raise InputError(
            f"name: {config.name!r} is a known corpus, with terms of its own; choose another name, "
            f"or --corpus {config.name}."
        )
    return config.name


def _read_folder(
    config: CorpusConfig, described: Corpus | None, clips: Sequence[Path], left_out: Counter[str]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Returns the clips that a folder holds, what is doubted, and why others cannot be read."""
    corpus, audio_dir = config.corpus, Path(config.audio_dir or "")
    dropped: list[str] = []
    doubts: list[str] = []
    rows = _read_names(audio_dir, clips, corpus, described, dropped, left_out)
    if described is None:  # ids are the names of files and folders
        rows, doubts = found.tell_apart(rows)
    is_unsure = corpus == "folder" or (dropped and described is not None)
    alike = [
        f"names are those of {other}, which reads them: --corpus {other}"
        for other in (corpora_named_like(clips) if is_unsure else [])
        if other != corpus
    ]
    tops = {audio_dir / clip.relative_to(audio_dir).parts[0] for clip in clips}
    if corpus == "folder" and dropped and len(tops) == 1 and (top := tops.pop()).is_dir():
        alike.append(f"all clips are in one folder; go a level down: --audio-dir {top}")
    if alike:
        dropped = ["; ".join([reason.rstrip("."), *alike]) + "." for reason in dropped]
    named = f"{corpus}: " if _is_file_of_user(corpus) else ""
    return rows, alike + doubts, [f"{named}{reason}" for reason in dropped]


def _read_names(
    audio_dir: Path,
    clips: Iterable[Path],
    name: str,
    corpus: Corpus | None,
    dropped: list[str],
    left_out: Counter[str],
) -> pd.DataFrame:
    """Reads every audio file's name.

    Names that cannot be read go to `dropped` with the reason; files that the corpus leaves out are
    counted in `left_out`.
    """
    emotions = corpus.read_tables(audio_dir) if corpus else {}
    read_name = read_speech_name if name == SPEECH else read_folder_name
    rows = []
    for path in clips:
        relative = PurePath(path.relative_to(audio_dir))
        try:
            check_name(relative)
            clip = corpus.read(relative, emotions) if corpus else read_name(relative)
        except InputError as error:
            dropped.append(str(error))
            continue
        if isinstance(clip, str):
            left_out[clip] += 1
        else:
            rows.append({"path": relative.as_posix(), **vars(clip)})
    return pd.DataFrame(rows, columns=["path", "utterance_id", "speaker", "gender", "emotion"])


def _find_files(rows: pd.DataFrame, audio_dir: Path, dropped: list[str]) -> pd.DataFrame:
    r"""Leaves out the rows of a table whose files are not there; the reasons go to `dropped`.

    Paths of Windows, `anna\1.wav`, are understood.
    """

    def is_there(path: str) -> bool:
        return is_file(audio_dir / path)

    paths = [path if is_there(path) else path.replace("\\", "/") for path in rows["path"]]
    rows = rows.assign(path=paths)
    missing = [path for path in paths if not is_there(path)]
    clips = find_audio(audio_dir).clips if missing else []
    ends = {
        end: relative.as_posix()
        for relative in (clip.relative_to(audio_dir) for clip in reversed(clips))
        for end in _ends(relative)
    }
    for path in missing:
        other = next((ends[end] for end in _ends(PurePath(path)) if end in ends), None)
        shown = path if path == path.strip() else repr(path)
        dropped.append(
            f"{shown or 'an empty path'}: is no file below {audio_dir}"
            + (f", which has {other}" if other else "")
            + "; paths of a table are relative to --audio-dir, with suffix."
        )
    return rows[~rows["path"].isin(missing)]


def _ends(path: PurePath) -> Iterator[tuple[str, ...]]:
    """Its last parts, from all to one, with and without suffix; case and spaces do not count."""
    folders = [part.strip().casefold() for part in path.parts[:-1]]
    names = [name.strip().casefold() for name in (path.name, path.stem) if name]
    for start in range(len(path.parts)):
        for name in names:
            yield (*folders[start:], name)


def _rename(rows: pd.DataFrame, described: Corpus | None, config: CorpusConfig) -> pd.DataFrame:
    """Gives emotions the names that the user wants, and leaves out what the user does not want."""
    emotions = set(rows["emotion"] if described is None else described.labels.values())
    plain = found.as_shown
    names = {plain(key): plain(name) for key, name in config.label_map.items()}
    _check_emotions("label_map", names, emotions)
    rows["emotion"] = rows["emotion"].replace(names)
    known = {names.get(name or "", name) for name in emotions}
    leave_out = [plain(name) for name in config.leave_out]
    _check_emotions("leave_out", leave_out, known)
    kept = rows[~rows["emotion"].isin(leave_out)]
    if kept.empty and not rows.empty:
        raise InputError(f"leave_out: {' '.join(leave_out)} leaves no clip; leave fewer out.")
    return kept


def _check_emotions(name: str, given: Collection[str], emotions: Collection[str | None]) -> None:
    """Refuses emotions that the corpus does not have."""
    known = sorted(filter(None, emotions))
    unknown = [emotion for emotion in given if emotion not in known]
    if known and unknown:
        raise InputError(
            f"{name}: must name emotions of the corpus; received {found.listed(unknown)}. It has "
            f"{found.listed(known, found.SHOWN)}."
        )


def _decode(paths: list[Path], dropped: list[str]) -> tuple[list[float | None], list[str | None]]:
    """Decodes every clip: its seconds, and a digest of its samples.

    Both are None for bad ones, whose reasons go to `dropped`.
    """
    seconds: list[float | None] = []
    sounds: list[str | None] = []
    with ThreadPoolExecutor() as pool:
        results = pool.map(_decode_one, paths)
        for result in Bar(results, total=len(paths), desc="checking clips", unit="clip"):
            dropped += [result] if isinstance(result, str) else []
            length, sound = (None, None) if isinstance(result, str) else result
            seconds.append(length)
            sounds.append(sound)
    return seconds, sounds


def _decode_one(path: Path) -> tuple[float, str] | str:
    """Returns the seconds of a clip and a digest of its samples, or what is wrong with it."""
    try:
        samples = audio.read_audio(path)
    except InputError as error:
        return str(error)
    seconds = len(samples) / audio.SAMPLE_RATE_HZ
    if seconds < _SHORTEST_SECONDS:
        return (
            f"{path}: lasts {seconds:.4f} s, shorter than one window of {_SHORTEST_SECONDS:.3f} s; "
            "remove it."
        )
    return seconds, hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()


def _refuse(dropped: list[str], left: pd.DataFrame, skip_bad: bool) -> None:
    """Raises one error for a list of reasons, unless they may be skipped and clips are left."""
    if dropped and (left.empty or not skip_bad):
        more = f" ({len(dropped) - 1} more like it.)" if len(dropped) > 1 else ""
        rest = "No clip is left." if left.empty else "--skip-bad goes on without."
        raise InputError(f"{dropped[0]}{more} {rest}")
