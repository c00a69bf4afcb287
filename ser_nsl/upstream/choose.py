"""Which layers of an encoder know most about emotion, by a linear classifier on the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation.linear import linear_classifier
from ser_nsl.pipeline.bars import Bar
from ser_nsl.upstream.encoder import Pooling

if TYPE_CHECKING:
    from ser_nsl.upstream.checkpoint import Upstream

_CLIP_SECONDS = 4.0


def choose_layers(upstream: Upstream, source: Path, pooling: Pooling) -> tuple[int, ...]:
    """Embeds a labelled corpus by every layer of an encoder, and chooses as `best_layers` does.

    Args:
        upstream: The encoder.
        source: Manifest of a corpus whose splits share no speaker.
        pooling: As for `extract_embeddings`.

    Returns:
        One or two layers.

    Raises:
        InputError: If training and validation split do not hold labelled clips of the same two
            emotions or more, or a clip cannot be read.
    """
    from ser_nsl.upstream.embedder import Embedder

    table = labelled_clips(source)
    table = table[table["split"].isin(("train", "val"))]
    depth, longest = upstream.encoder.layers, upstream.encoder.longest_samples
    samples = min(round(_CLIP_SECONDS * SAMPLE_RATE_HZ), longest or math.inf)
    embedder = Embedder(upstream, int(samples), layers=tuple(range(depth + 1)), pooling=pooling)
    vectors = embedder.embed_files(list(table["audio"]), "layers of the upstream")
    train = (table["split"] == "train").to_numpy()
    emotions = table["emotion"].to_numpy()
    by_layer = np.split(vectors, depth + 1, axis=1)
    return best_layers(
        [(layer[train], layer[~train]) for layer in by_layer], emotions[train], emotions[~train]
    )


def labelled_clips(source: Path, audio_dir: Path | None = None) -> pd.DataFrame:
    """Reads the labelled clips of a corpus from which a classifier can learn.

    Args:
        source: Manifest.
        audio_dir: Audio root; by default the one recorded beside the manifest.

    Returns:
        Their rows, with a column `audio`, the path.

    Raises:
        InputError: If training and validation split do not hold labelled clips of the same two
            emotions or more.
    """
    table = read_manifest(source)
    table = table[table["emotion"] != ""]
    train, val = (
        sorted(set(table.loc[table["split"] == split, "emotion"])) for split in ("train", "val")
    )
    if len(train) < 2 or val != train:
        raise InputError(
            f"{source}: training and validation split need labelled clips of the same two emotions "
            f"or more; received {', '.join(train) or 'none'} in training and "
            f"{', '.join(val) or 'none'} in validation. Prepare it with other --split settings."
        )
    return table.assign(audio=audio_paths(table, source, audio_dir))


def best_layers(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    train_labels: np.ndarray,
    val_labels: np.ndarray,
) -> tuple[int, ...]:
    """Chooses the layer that a linear classifier finds best, or two that do better together.

    Args:
        layers: Per layer the pooled frames of training and of validation clips, float32 of shape
            `(clips, width)`.
        train_labels: Emotions of the training clips.
        val_labels: Emotions of the validation clips.

    Returns:
        The best layer by UAR, with its better neighbour if both together are better still.
    """
    from sklearn.metrics import balanced_accuracy_score

    def uar(chosen: tuple[int, ...]) -> float:
        train, val = (np.concatenate([layers[i][part] for i in chosen], axis=1) for part in (0, 1))
        predicted = linear_classifier().fit(train, train_labels).predict(val)
        return float(balanced_accuracy_score(val_labels, predicted))

    found: dict[tuple[int, ...], float] = {(layer,): uar((layer,)) for layer in range(len(layers))}
    best = max(found, key=lambda chosen: found[chosen])[0]
    for first in (best - 1, best):
        if 0 <= first < len(layers) - 1:
            found[first, first + 1] = uar((first, first + 1))
    for chosen, score in found.items():
        Bar.write(f"layers {'+'.join(map(str, chosen))}: validation UAR {score:.1%}")
    return max(found, key=lambda chosen: (found[chosen], -len(chosen)))
