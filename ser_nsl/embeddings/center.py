"""The stage that takes out of embeddings what a speaker's clips have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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
from ser_nsl.corpora.manifest import SPLITS, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage


@stage(inputs=("embeddings", "manifest"), makes="folder")
def center_embeddings(
    *,
    embeddings: Path,
    manifest: Path,
    out: Path,
    by: Literal["speaker", "corpus"] = "speaker",
) -> Mapping[str, Any]:
    """Subtracts means from embeddings, so that likeness is less one of voices or recordings.

    No label is needed, only who speaks. A mean is that of all a speaker's clips in the split, of
    the test split too where it is embedded. It supposes that the emotions of all speakers are mixed
    alike: of one who is always angry it would take the anger away.

    Args:
        embeddings: What tools/extract_embeddings.py has made.
        manifest: Who speaks.
        out: Folder for the centred embeddings, in as many files.
        by: `speaker` subtracts from each clip the mean over its speaker's clips; `corpus` that
            over all training clips, where speakers are not known.

    Returns:
        Number of clips a split, and of speakers.

    Raises:
        InputError: If a clip is not in the manifest or has no speaker, a speaker has a single
            clip, there is no training split whose mean to subtract, or the embeddings cannot be
            read.
    """
    speakers = read_manifest(manifest).set_index("utterance_id")["speaker"]
    splits = [split for split in SPLITS if has_split(embeddings, split)]
    if not splits:
        raise InputError(f"embeddings: {embeddings} holds no records; give another folder.")
    made_by = {read_upstream(embeddings, split) for split in splits}
    if len(made_by) > 1:
        raise InputError(
            f"embeddings: {embeddings} mixes upstreams, {' and '.join(sorted(made_by))}; embed all "
            "splits with one."
        )
    vectors = {split: read_embeddings(embeddings, [split]) for split in splits}
    if by == "corpus" and "train" not in splits:
        raise InputError(f"embeddings: {embeddings} has no training split, whose mean is needed.")
    _check(vectors, speakers, embeddings, manifest, by)
    upstream = made_by.pop()
    name = upstream and f"{upstream}-{by}"
    counts: dict[str, Any] = {}
    for split, of_split in vectors.items():
        values = np.stack(list(of_split.values()))
        if by == "corpus":
            values -= np.mean(list(vectors["train"].values()), axis=0)
        else:
            values = without_speaker_means(values, speakers[list(of_split)])
        with ShardWriter(out, split, len(shard_paths(embeddings, split))) as writer:
            for utterance_id, vector in zip(of_split, values, strict=True):
                writer.write(embedding_example(utterance_id, vector, name))
        counts[split] = len(of_split)
    return counts | {"speakers": speakers[[i for each in vectors.values() for i in each]].nunique()}


def without_speaker_means(vectors: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Subtracts from each clip's vector the mean over its speaker's clips.

    Args:
        vectors: Shape `(clips, width)`.
        speakers: Who speaks in each clip.

    Returns:
        Same dtype and shape.
    """
    table = pd.DataFrame(vectors)
    return vectors - table.groupby(np.asarray(speakers)).transform("mean").to_numpy(vectors.dtype)


def _check(
    vectors: Mapping[str, Mapping[str, np.ndarray]],
    speakers: pd.Series,
    embeddings: Path,
    manifest: Path,
    by: str,
) -> None:
    ids = [utterance_id for of_split in vectors.values() for utterance_id in of_split]
    unknown = [utterance_id for utterance_id in ids if utterance_id not in speakers.index]
    if unknown:
        raise InputError(
            f"manifest: {manifest} lacks {len(unknown)} clips of {embeddings} (first: "
            f"{', '.join(unknown[:3])}); give the manifest that they were made from."
        )
    if by == "corpus":
        return
    silent = [utterance_id for utterance_id in ids if not speakers[utterance_id]]
    if silent:
        raise InputError(
            f"by: {len(silent)} clips of {manifest} have no speaker (first: "
            f"{', '.join(silent[:3])}); add speakers, or choose 'corpus'."
        )
    clips = speakers[ids].value_counts()
    single = sorted(clips.index[clips == 1])
    if single:
        raise InputError(
            f"by: {len(single)} speakers of {manifest} have a single clip, of which nothing would "
            f"be left (first: {', '.join(single[:3])}); leave them out, or choose 'corpus'."
        )
