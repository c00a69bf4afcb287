"""The stage that subtracts from embeddings what the clips of a speaker have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.audio.records import (
    ShardWriter,
    embedding_example,
    has_split,
    read_embeddings,
    read_upstream,
    shard_paths,
)
from ser_nsl.corpora.manifest import SPLITS
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings", "manifest"), makes="folder")
def center_embeddings(*, embeddings: Path, manifest: Path, out: Path) -> Mapping[str, Any]:
    """Subtracts each speaker's mean, so that similarity depends less on voices and recordings.

    No label is needed, only the speakers. The mean is taken over all clips of a speaker in a
    split, of the test split too where it is embedded. This assumes that all speakers show the
    emotions in similar shares: of a speaker who is always angry it would remove the anger.

    Args:
        embeddings: Folder of embeddings.
        manifest: Manifest with the speakers of these clips.
        out: Folder for the centred embeddings, in as many shards.

    Returns:
        Number of clips of each split, and of speakers.

    Raises:
        InputError: If a clip is not in the manifest or has no speaker, a speaker has a single
            clip, or the embeddings cannot be read.

    Example:
        >>> made = center_embeddings(
        ...     embeddings=Path("embeddings"), manifest=Path("manifest.csv"), out=Path("centred")
        ... )
        >>> made.counts
        {'train': 12, 'speakers': 2}
        >>> centred = read_embeddings(Path("centred"), ["train"])
        >>> bool(abs(np.mean([*centred.values()])) < 1e-6)
        True
    """
    splits = [split for split in SPLITS if has_split(embeddings, split)]
    if not splits:
        raise InputError(f"embeddings: {embeddings} holds no records; give another folder.")
    every = read_embeddings(embeddings, splits)
    speakers = column_of_clips("speaker", manifest, every, embeddings)
    _check_speakers(speakers, manifest)
    name = read_upstream(embeddings, splits[0])
    counts: dict[str, Any] = {}
    for split in splits:
        vectors = read_embeddings(embeddings, [split])
        centred = without_speaker_means(np.stack([*vectors.values()]), speakers[[*vectors]])
        with ShardWriter(out, split, len(shard_paths(embeddings, split))) as writer:
            for utterance_id, vector in zip(vectors, centred, strict=True):
                writer.write(embedding_example(utterance_id, vector, name and f"{name}-speaker"))
        counts[split] = len(vectors)
    return counts | {"speakers": speakers.nunique()}


def without_speaker_means(vectors: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Subtracts from each clip's vector the mean over its speaker's clips.

    Args:
        vectors: Shape `(clips, width)`.
        speakers: Speaker of each clip.

    Returns:
        Same dtype and shape.
    """
    table = pd.DataFrame(vectors)
    return vectors - table.groupby(np.asarray(speakers)).transform("mean").to_numpy(vectors.dtype)


def _check_speakers(speakers: pd.Series, manifest: Path) -> None:
    unknown = list(speakers.index[speakers == ""])
    rule = f"manifest: clips of {manifest} have no speaker"
    refuse(unknown, rule, "Add speakers, or do without centring.")
    clips = speakers.value_counts()
    single = sorted(clips.index[clips == 1])
    rule = f"manifest: speakers of {manifest} have a single clip, which centring makes zero"
    refuse(single, rule, "Leave them out.")
