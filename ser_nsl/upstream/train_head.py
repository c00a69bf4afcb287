"""The stage that trains an emotion head on a frozen encoder: minutes on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.settings import HeadConfig

if TYPE_CHECKING:
    from ser_nsl.upstream.head import Head

_LEAST_SCALE = 1e-4  # of an input that is the same in all clips


@stage(inputs=("manifest", "audio_dir", "upstream"), makes="folder")
def train_head(
    *,
    manifest: Path,
    upstream: str,
    out: Path,
    audio_dir: Path | None = None,
    config: HeadConfig = HeadConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Trains FC1 and a classifier on the frames of a frozen encoder, pooled over time.

    The encoder runs once a clip. The result is an upstream like any other: its
    embedding is FC1, 256 numbers.

    Args:
        manifest: Manifest of the source corpus; its training split teaches, its validation split
            chooses the epoch, its test split is scored once.
        upstream: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper.
        out: Folder for the encoder's checkpoint with the head beside it.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        config: Layers, pooling, epochs.

    Returns:
        Number of training clips, the layers, the epoch kept, and UAR on the validation split and
        on the clips of the test split with an emotion that was learned.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, or training and validation split
            do not hold labelled clips of the same two emotions or more.

    Example:
        >>> made = train_head(
        ...     manifest=Path("manifest.csv"), upstream="upstream", out=Path("headed"),
        ...     config=HeadConfig(layers=(1,), epochs=2),
        ... )
        >>> made.counts["clips"], made.counts["layers"]
        (12, '1')
    """
    from ser_nsl.upstream.checkpoint import load_upstream, save_encoder
    from ser_nsl.upstream.choose import best_layers, labelled_clips
    from ser_nsl.upstream.embedder import Embedder

    table = labelled_clips(manifest, audio_dir)
    classes = tuple(sorted(set(table["emotion"][table["split"] == "train"])))
    table = table[table["emotion"].isin(classes)]
    loaded = load_upstream(upstream)
    layers = config.layers or tuple(range(loaded.encoder.layers + 1))
    window = round(config.clip_seconds * SAMPLE_RATE_HZ)
    embedder = Embedder(loaded, window, layers=layers, pooling=config.pooling)
    inputs, labels = {}, {}
    for split, clips in table.groupby("split"):
        inputs[split] = embedder.embed_files(list(clips["audio"]), f"{split}, frozen encoder")
        labels[split] = clips["emotion"].map(classes.index).to_numpy()
    if not config.layers:
        by_layer = {s: np.split(pooled, len(layers), axis=1) for s, pooled in inputs.items()}
        pairs = [*zip(by_layer["train"], by_layer["val"], strict=True)]
        layers = best_layers(pairs, labels["train"], labels["val"])
        inputs = {s: np.concatenate([of[i] for i in layers], 1) for s, of in by_layer.items()}
    head, epoch, uar = _fit(inputs, labels, classes, layers, config)
    head.save(out)
    save_encoder(loaded.encoder, out)
    counts = {
        "clips": len(inputs["train"]),
        "layers": "+".join(map(str, layers)),
        "epoch": epoch,
        "val_uar": f"{uar:.1%}",
    }
    if "test" in inputs:
        counts["test_uar"] = f"{_uar(head, inputs['test'], labels['test']):.1%}"
    return counts


def _fit(
    inputs: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
    layers: tuple[int, ...],
    config: HeadConfig,
) -> tuple[Head, int, float]:
    """Trains the head; returns it as it was after its best epoch, with that epoch's UAR."""
    from ser_nsl.upstream.head import EMBEDDING_WIDTH, Head

    mean = inputs["train"].mean(axis=0)
    scale = np.maximum(inputs["train"].std(axis=0), _LEAST_SCALE)
    tf.keras.utils.set_random_seed(config.seed)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(EMBEDDING_WIDTH, "relu", name="fc1"),
            tf.keras.layers.Dropout(config.dropout),
            tf.keras.layers.Dense(len(classes), name="classifier"),
        ]
    )
    model.build((None, len(mean)))
    model.compile(
        tf.keras.optimizers.Adam(config.learning_rate),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    standardised = (inputs["train"] - mean) / scale
    best: tuple[Head, int, float] | None = None
    for epoch in Bar(range(config.epochs), desc="emotion head", unit="epoch"):
        model.fit(standardised, labels["train"], batch_size=config.batch_size, verbose=0)
        fc1, classifier = model.get_layer("fc1"), model.get_layer("classifier")
        arrays = {"mean": mean, "scale": scale} | {
            f"{layer.name}.{kind}": weight
            for layer in (fc1, classifier)
            for kind, weight in zip(("kernel", "bias"), layer.get_weights(), strict=True)
        }
        head = Head(classes, layers, config.pooling, "relu", arrays)
        uar = _uar(head, inputs["val"], labels["val"])
        if best is None or uar >= best[2]:  # the last of equals has learned most
            best = head, epoch + 1, uar
    assert best is not None
    return best


def _uar(head: Head, pooled: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    predicted = head.logits(head.project(pooled).numpy()).argmax(axis=1)
    return float(balanced_accuracy_score(labels, predicted))
