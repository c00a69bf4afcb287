"""The stage that trains an emotion head on a frozen encoder: minutes on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np
from tqdm import tqdm

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.settings import HeadConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from ser_nsl.upstream.checkpoint import Upstream
    from ser_nsl.upstream.head import Head
else:
    tf = lazy_loader.load("tensorflow")

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

    The encoder runs once a clip. The result is an upstream like any other: its embedding is FC1,
    256 numbers.

    Args:
        manifest: Manifest of the source corpus; its training split teaches, its validation split
            chooses the epoch, its test split is scored once.
        upstream: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper.
        out: Folder for the encoder's checkpoint with the head beside it.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        config: Layers, pooling, epochs.

    Returns:
        Number of clips, the layers, the epoch kept, and UAR on the validation and the test split.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, or a split lacks labelled clips of
            all its emotions.

    Example:
        >>> made = train_head(
        ...     manifest=Path("manifest.csv"), upstream="upstream", out=Path("headed"),
        ...     config=HeadConfig(layers=(1,), epochs=2),
        ... )
        >>> made.counts["clips"], made.counts["layers"]
        (12, '1')
    """
    from ser_nsl.upstream.checkpoint import load_upstream, save_encoder
    from ser_nsl.upstream.choose import choose_layers
    from ser_nsl.upstream.embed import Embedder

    table = read_manifest(manifest)
    table = table[table["emotion"] != ""]
    table["audio"] = audio_paths(table, manifest, audio_dir)
    rows = {split: table[table["split"] == split] for split in ("train", "val", "test")}
    classes = tuple(sorted(set(rows["train"]["emotion"])))
    for split in ("train", "val"):
        if len(classes) < 2 or set(rows[split]["emotion"]) != set(classes):
            raise InputError(
                f"{manifest}: split {split} needs labelled clips of two emotions or more, the same "
                f"as the training split; it has {sorted(set(rows[split]['emotion']))}, the "
                f"training split {list(classes)}."
            )
    loaded = load_upstream(upstream)
    pooling: Any = config.pooling
    layers = config.layers or choose_layers(loaded, manifest, pooling)
    window = round(config.clip_seconds * SAMPLE_RATE_HZ)
    embedder = Embedder(loaded, window, layers=layers, pooling=pooling)
    inputs = {
        split: embedder.embed_files(list(clips["audio"]), f"{split}, frozen encoder")
        for split, clips in rows.items()
        if len(clips)
    }
    labels = {split: clips["emotion"].map(classes.index).to_numpy() for split, clips in rows.items()}
    head, epoch, uar = _fit(inputs, labels, classes, layers, config)
    head.save(out)
    save_encoder(loaded.encoder, out)
    counts = {"clips": len(rows["train"]), "layers": "+".join(map(str, layers)), "epoch": epoch}
    counts["val_uar"] = f"{uar:.1%}"
    if "test" in inputs and set(rows["test"]["emotion"]) <= set(classes):
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
    for epoch in tqdm(range(config.epochs), desc="emotion head", unit="epoch"):
        model.fit(standardised, labels["train"], batch_size=config.batch_size, verbose=0)
        fc1, classifier = model.get_layer("fc1"), model.get_layer("classifier")
        arrays = {"mean": mean, "scale": scale} | {
            f"{layer.name}.{kind}": weight
            for layer in (fc1, classifier)
            for kind, weight in zip(("kernel", "bias"), layer.get_weights(), strict=True)
        }
        pooling: Any = config.pooling
        head = Head(classes, layers, pooling, "relu", arrays)
        uar = _uar(head, inputs["val"], labels["val"])
        if best is None or uar > best[2]:
            best = head, epoch + 1, uar
    assert best is not None
    return best


def _uar(head: Head, pooled: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    predicted = head.logits(head.project(pooled).numpy()).argmax(axis=1)
    return float(balanced_accuracy_score(labels, predicted))
