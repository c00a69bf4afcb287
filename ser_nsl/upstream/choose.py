"""Which layers of an encoder know most about emotion, by a linear classifier on the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.encoder import Pooling

if TYPE_CHECKING:
    from ser_nsl.upstream.checkpoint import Upstream

_CLIP_SECONDS = 4.0
_C = 0.01  # of wide embeddings and few clips


def choose_layers(upstream: Upstream, source: Path, pooling: Pooling) -> tuple[int, ...]:
    """Chooses a layer, or two that do better together.

    Args:
        upstream: The encoder.
        source: Manifest of a labelled corpus whose splits share no speaker; its training split
            teaches the classifier, its validation split decides.
        pooling: As for `extract_embeddings`.

    Returns:
        The best layer by UAR, with its better neighbour if both together are better still.

    Raises:
        InputError: If one of the splits has no labelled clip, or the validation split an emotion
            that the training split lacks.
    """
    from ser_nsl.upstream.embed import Embedder

    table = read_manifest(source)
    table = table[table["split"].isin(("train", "val")) & (table["emotion"] != "")]
    train = (table["split"] == "train").to_numpy()
    unknown = set(table["emotion"][~train]) - set(table["emotion"][train])
    if train.all() or not train.any() or unknown:
        raise InputError(
            f"source: {source} needs labelled clips in its training and validation split, of the "
            "same emotions; prepare it with validation speakers (--split.val-share)."
        )
    depth = upstream.encoder.layers
    samples = round(_CLIP_SECONDS * SAMPLE_RATE_HZ)
    embedder = Embedder(upstream, samples, layers=tuple(range(depth + 1)), pooling=pooling)
    paths = audio_paths(table, source, None)
    vectors = embedder.embed_files(list(paths), "layers of the upstream")
    by_layer = np.split(vectors, depth + 1, axis=1)
    emotions = table["emotion"].to_numpy()

    def uar(layers: tuple[int, ...]) -> float:
        inputs = np.concatenate([by_layer[layer] for layer in layers], axis=1)
        return linear_uar(inputs[train], emotions[train], inputs[~train], emotions[~train])

    scores = {(layer,): uar((layer,)) for layer in range(depth + 1)}
    (best,) = max(scores, key=lambda layers: scores[layers])
    for near in (best - 1, best + 1):
        if 0 <= near <= depth:
            pair = (min(near, best), max(near, best))
            scores[pair] = uar(pair)
    for layers, score in scores.items():
        tqdm.write(f"layers {'+'.join(map(str, layers))}: validation UAR {score:.1%}")
    return max(scores, key=lambda layers: (scores[layers], -len(layers)))


def linear_uar(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Trains a linear classifier and scores it.

    Args:
        train: Embeddings, shape `(clips, width)`.
        train_labels: Emotions, shape `(clips,)`.
        test: Embeddings of other clips.
        test_labels: Their emotions.

    Returns:
        UAR, 0 to 1, of standardisation and logistic regression with C = 0.01.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=2_000))
    classifier.fit(train, train_labels)
    return float(balanced_accuracy_score(test_labels, classifier.predict(test)))
