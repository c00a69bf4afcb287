"""The stage that subtracts from embeddings what the clips of a speaker have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import ShardWriter, has_split, shard_paths
from ser_nsl.corpora.manifest import SPLITS, read_manifest
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.stage import stage

_MOST_TOLD = 0.5  # share of what can be known of the emotion that the speaker tells; 0 in a mix


@stage(inputs=("embeddings", "manifest"), makes="folder", remote=("embeddings",))
def center_embeddings(*, embeddings: Path, manifest: Path, out: Path) -> Mapping[str, Any]:
    """Subtracts each speaker's mean, so that similarity depends less on voices and recordings.

    No label is needed, only the speakers. The mean is taken over all clips of a speaker in a
    split, of the test split too where it is embedded. This assumes that all speakers show the
    emotions in similar shares: of a speaker who is always angry it would remove the anger. So a
    corpus in which the speakers of the training clips tell their emotions is refused.

    Args:
        embeddings: Folder of embeddings.
        manifest: Manifest with the speakers of these clips.
        out: Folder for the centred embeddings, in as many shards.

    Returns:
        Number of clips of each split, and of speakers.

    Raises:
        InputError: If a clip is not in the manifest or has no speaker, a speaker has a single
            clip in training, speakers and emotions coincide, or the embeddings cannot be read.

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
    check_mix(read_manifest(manifest), manifest)
    splits = [split for split in SPLITS if has_split(embeddings, split)]
    if not splits:
        raise InputError(f"embeddings: {embeddings} holds no records; give another folder.")
    every = read_embeddings(embeddings, splits)
    speakers = column_of_clips("speaker", manifest, every, embeddings)
    _check_speakers(speakers, [*read_embeddings(embeddings, splits[:1])], manifest)
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


def check_mix(table: pd.DataFrame, source: Path) -> None:
    """Refuses a corpus in which the speaker tells the emotion, as centring would remove both.

    The measure is the mutual information of speakers and emotions, in the labelled training clips,
    adjusted for chance: 0 where all speakers have the same mix, 1 where each has one emotion.

    Args:
        table: Columns `speaker`, `emotion` and `split`.
        source: File or folder to be named in errors.

    Raises:
        InputError: If it is above 0.5.

    Example:
        >>> rows = pd.DataFrame({"speaker": [*"aabb"], "emotion": ["joy", "joy", "fear", "fear"]})
        >>> check_mix(rows.assign(split="train"), Path("my.csv"))
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: center: speaker and emotion coincide in my.csv: 2 of 2 speakers
        have one emotion only, so that subtracting a speaker's mean removes the emotion. Do without
        centring (center: null in experiments and sweeps).
    """
    from sklearn.metrics import adjusted_mutual_info_score

    chosen = (table["split"] == "train") & (table["speaker"] != "") & (table["emotion"] != "")
    speakers, emotions = table.loc[chosen, "speaker"], table.loc[chosen, "emotion"]
    if min(speakers.nunique(), emotions.nunique()) < 2:
        return
    told = adjusted_mutual_info_score(speakers, emotions, average_method="min")
    if told > _MOST_TOLD:
        own = emotions.groupby(speakers).nunique()
        raise InputError(
            f"center: speaker and emotion coincide in {source}: {(own == 1).sum():,} of "
            f"{len(own):,} speakers have one emotion only, so that subtracting a speaker's mean "
            "removes the emotion. Do without centring (center: null in experiments and sweeps)."
        )


def _check_speakers(speakers: pd.Series, trained: list[str], manifest: Path) -> None:
    unknown = list(speakers.index[speakers == ""])
    rule = f"manifest: clips of {manifest} have no speaker"
    refuse(unknown, rule, "Add speakers, or do without centring.")
    clips = speakers[trained].value_counts()
    single = sorted(clips.index[clips == 1])
    rule = f"manifest: speakers of {manifest} have a single clip, which centring makes zero"
    refuse(single, rule, "Leave them out.")
