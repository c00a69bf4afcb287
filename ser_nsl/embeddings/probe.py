"""The stage that reads emotions from embeddings, so that likeness is one of emotion."""

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
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

_INVERSE_REGULARISATION = 10.0  # 1 left the probabilities, and so the edges, less pure


@stage(inputs=("embeddings", "manifest"), makes="folder")
def probe_embeddings(
    *, embeddings: Path, manifest: Path, out: Path, label_share: float = 1.0, seed: int = 0
) -> Mapping[str, Any]:
    """Replaces training embeddings by the emotions that a linear probe reads from them.

    Neighbours in an embedding share much that is not emotion. A logistic regression on the labels
    that training knows finds the directions that matter; clips are then alike if it gives them
    like probabilities. Validation and test clips are not read.

    Args:
        embeddings: Of the training clips, made by any tool.
        manifest: Which clips train, and their emotions.
        out: Folder for the new embeddings: one probability an emotion, in as many files.
        label_share: Share of the labels that the probe may know, above 0, at most 1; that of
            train_downstream's --training.label-share.
        seed: Of the draw of these labels; train_downstream's --training.seed.

    Returns:
        Numbers of clips, of labels known, and of emotions.

    Raises:
        InputError: If a clip is not in the manifest, fewer than two emotions are known, or the
            embeddings cannot be read.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    check_share(label_share)
    vectors = read_embeddings(embeddings, ["train"])
    ids = list(vectors)
    emotions = read_manifest(manifest).set_index("utterance_id")["emotion"]
    unknown = [utterance_id for utterance_id in ids if utterance_id not in emotions.index]
    if unknown:
        raise InputError(
            f"manifest: {manifest} lacks {len(unknown)} clips of {embeddings} (first: "
            f"{', '.join(unknown[:3])}); give the manifest that they were made from."
        )
    classes = sorted({*emotions} - {""})
    labels = emotions[ids].map({name: i for i, name in enumerate(classes)}).fillna(UNLABELLED)
    labels = known_labels(ids, labels.to_numpy(np.int64), label_share, seed)
    known = labels != UNLABELLED
    if len(np.unique(labels[known])) < 2:
        raise InputError(
            f"manifest: the clips of {embeddings} must have labels of two emotions at least, for "
            f"a probe to tell them apart; {known.sum()} have a label."
        )
    unit = normalize(np.stack(list(vectors.values())).astype(np.float64))
    probe = LogisticRegression(
        C=_INVERSE_REGULARISATION, class_weight="balanced", max_iter=2_000
    ).fit(unit[known], labels[known])
    probabilities = probe.predict_proba(unit).astype(np.float32)
    name = f"{read_upstream(embeddings, 'train')}-probe"
    with ShardWriter(out, "train", len(shard_paths(embeddings, "train"))) as writer:
        for utterance_id, vector in zip(ids, probabilities, strict=True):
            writer.write(embedding_example(utterance_id, vector, name))
    return {"clips": len(ids), "labels": int(known.sum()), "emotions": len(probe.classes_)}
