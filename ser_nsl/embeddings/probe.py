"""The stage that turns embeddings into emotion probabilities, so that similarity means emotion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.records import (
    UNLABELLED,
    ShardWriter,
    embedding_example,
    read_embeddings,
    read_upstream,
    shard_paths,
)
from ser_nsl.corpora.labels import check_share, known_labels
from ser_nsl.embeddings.clips import column_of_clips
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_INVERSE_REGULARISATION = 10.0  # 1 left the probabilities, and so the edges, less pure


@stage(inputs=("embeddings", "manifest"), makes="folder", remote=("embeddings",))
def probe_embeddings(
    *, embeddings: Path, manifest: Path, out: Path, label_share: float = 1.0, seed: int = 0
) -> Mapping[str, Any]:
    """Replaces training embeddings by the emotion probabilities of a linear classifier (a probe).

    Neighbouring embeddings share much that is not emotion. A logistic regression on the labels
    that are known in training finds the directions that matter; clips are then similar if it gives
    them similar probabilities. Validation and test clips are not read.

    Args:
        embeddings: Folder with embeddings of the training clips.
        manifest: Manifest with the emotions of these clips.
        out: Folder for the new embeddings: one probability per emotion, in as many shards.
        label_share: Share of the labels that the probe may use, above 0, at most 1; the same as
            train-downstream's --training.label-share.
        seed: Seed of the choice of these labels; the same as train-downstream's --training.seed.

    Returns:
        Number of clips, of labels used, and of emotions.

    Raises:
        InputError: If a clip is not in the manifest, fewer than two emotions have labels, or the
            embeddings cannot be read.

    Example:
        >>> made = probe_embeddings(
        ...     embeddings=Path("embeddings"), manifest=Path("manifest.csv"), out=Path("probed")
        ... )
        >>> made.counts
        {'clips': 12, 'labels': 12, 'emotions': 3}
        >>> probabilities = [*read_embeddings(Path("probed"), ["train"]).values()]
        >>> round(float(sum(probabilities[0])), 3)
        1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    check_share(label_share)
    vectors = read_embeddings(embeddings, ["train"])
    emotions = column_of_clips("emotion", manifest, vectors, embeddings)
    index = {name: i for i, name in enumerate(sorted({*emotions} - {""}))}
    labels = emotions.map(index).fillna(UNLABELLED).to_numpy(np.int64)
    labels = known_labels([*vectors], labels, label_share, seed)
    known = labels != UNLABELLED
    if len(np.unique(labels[known])) < 2:
        raise InputError(
            f"manifest: the clips of {embeddings} must have labels of at least two emotions for a "
            f"probe; {known.sum()} clips have a label."
        )
    unit = normalize(np.stack([*vectors.values()]).astype(np.float64))
    probe = LogisticRegression(
        C=_INVERSE_REGULARISATION, class_weight="balanced", max_iter=2_000
    ).fit(unit[known], labels[known])
    probabilities = probe.predict_proba(unit).astype(np.float32)
    name = f"{read_upstream(embeddings, 'train')}-probe"
    with ShardWriter(out, "train", len(shard_paths(embeddings, "train"))) as writer:
        for utterance_id, vector in zip(vectors, probabilities, strict=True):
            writer.write(embedding_example(utterance_id, vector, name))
    return {"clips": len(vectors), "labels": int(known.sum()), "emotions": len(probe.classes_)}
