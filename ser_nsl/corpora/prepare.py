"""The stage that reads a corpus, checks each clip, and splits the speakers."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from tqdm import tqdm

from ser_nsl.audio import clip as audio
from ser_nsl.corpora.layout import Reader
from ser_nsl.corpora.manifest import check_manifest, write_manifest
from ser_nsl.corpora.registry import CORPORA, EMOTIONS, CorpusName
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.corpora.splits import assign_splits
from ser_nsl.corpora.table import read_table
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_SHORTEST_SECONDS = 512 / audio.SAMPLE_RATE_HZ  # one window of the default front end


@stage(inputs=("audio_dir", "table"), makes="file")
def prepare_corpus(
    *,
    corpus: CorpusName,
    audio_dir: Path,
    out: Path,
    table: Path | None = None,
    leave_out: tuple[str, ...] = (),
    split: SplitConfig = SplitConfig(),  # noqa: B008 (frozen)
    skip_bad: bool = False,
) -> Mapping[str, Any]:
    """Reads a corpus, checks each clip, splits the speakers, and writes the manifest.

    Args:
        corpus: How to read file names. `folder` is any folder with one subfolder per emotion,
            `csv` any list of clips.
        audio_dir: Folder that holds the clips (WAV, FLAC, OGG, MP3), at any depth.
        out: The manifest, a CSV file.
        table: The list of clips for the corpus `csv`: columns path and emotion, and speaker,
            gender, split, utterance_id where known.
        leave_out: Emotions to leave out, e.g. neutral; the corpus must know them.
        split: How to divide speakers into train, val and test.
        skip_bad: Leave out clips with foreign names or bad audio instead of stopping; they are
            counted and named.

    Returns:
        Counts of clips, speakers, splits, and the dropped clips with their reasons.

    Raises:
        InputError: For a bad clip without `skip_bad`, a foreign name, an unknown emotion to leave
            out, or a broken rule of the manifest.
    """
    if corpus not in (*CORPORA, "csv"):
        raise InputError(f"corpus: must be one of {', '.join(CORPORA)}, csv; received {corpus!r}.")
    if (corpus == "csv") != (table is not None):
        raise InputError("table: the corpus 'csv', and no other, needs a list of clips.")
    dropped: list[str] = []
    rows = read_table(table) if table else _read_names(audio_dir, CORPORA[corpus], dropped)
    emotions = EMOTIONS[corpus].values() if corpus in EMOTIONS else rows["emotion"]
    _check_left_out(leave_out, emotions)
    rows = rows[~rows["emotion"].isin(leave_out)].reset_index(drop=True)
    if rows.empty:
        _refuse(dropped)
        raise InputError(
            f"audio_dir: {audio_dir} holds no {corpus} clip; audio files end in "
            f"{', '.join(audio.SUFFIXES)}."
        )
    if not skip_bad:
        _refuse(dropped)
    rows["duration_seconds"] = _durations(
        [Path(audio_dir) / path for path in rows["path"]], dropped
    )
    if not skip_bad:
        _refuse(dropped)
    rows = rows.dropna(subset="duration_seconds").reset_index(drop=True)
    rows["corpus"] = corpus
    rows["split"] = assign_splits(rows, corpus, split)
    check_manifest(rows, source=audio_dir if table is None else table)
    write_manifest(rows, out)
    return {
        "clips": len(rows),
        "speakers": rows["speaker"].nunique(),
        "splits": rows["split"].value_counts().to_dict(),
        "hours": round(float(rows["duration_seconds"].sum()) / 3600, 3),
        "dropped": dropped,
    }


def _check_left_out(leave_out: tuple[str, ...], emotions: Iterable[str]) -> None:
    known = sorted(set(emotions) - {""})
    unknown = [emotion for emotion in leave_out if emotion not in known]
    if known and unknown:
        raise InputError(
            f"leave_out: must be emotions of the corpus; received {', '.join(unknown)}. It has "
            f"{', '.join(known)}."
        )


def _read_names(audio_dir: Path, reader: Reader, dropped: list[str]) -> pd.DataFrame:
    """Reads every audio file's name; foreign ones go to `dropped` with the reason."""
    root = Path(audio_dir)
    rows = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in audio.SUFFIXES or path.name.startswith("."):
            continue
        relative = PurePath(path.relative_to(root))
        try:
            clip = reader(relative)
        except InputError as error:
            dropped.append(str(error))
            continue
        rows.append({"path": relative.as_posix(), **vars(clip)})
    return pd.DataFrame(rows, columns=["path", "utterance_id", "speaker", "gender", "emotion"])


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
