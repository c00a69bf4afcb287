"""The stage that teaches the upstream the emotions of the source corpus."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2FeatureExtractor

from ser_nsl.audio import read_batches
from ser_nsl.config import UpstreamConfig
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.stage import stage
from ser_nsl.training.uar import UAR
from ser_nsl.upstream.checkpoint import load_upstream, standardise


@stage(inputs=("manifest", "audio_dir", "upstream"), makes="folder")
def finetune_upstream(
    *,
    manifest: Path,
    upstream: str,
    out: Path,
    audio_dir: Path | None = None,
    config: UpstreamConfig = UpstreamConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Fine-tunes a wav2vec 2.0 checkpoint on the emotions of the source corpus.

    The model is `TFWav2Vec2ForSequenceClassification` with a projector of 256 numbers, trained
    with Adam on cross entropy (arXiv 2210.14977).

    Args:
        manifest: The source corpus.
        upstream: Hub name, e.g. facebook/wav2vec2-base, or folder of a checkpoint.
        out: Folder for the checkpoint, in Hugging Face form, and `history.json`.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        config: Epochs, learning rate, length of clips.

    Returns:
        Numbers of clips and trained parameters, the epoch kept, and its UAR on the validation
        split.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, there is no validation split
            though the best epoch shall be kept, or the loss is not finite.
    """
    table = read_manifest(manifest)
    table = table[table["emotion"] != ""]
    table["audio"] = audio_paths(table, manifest, audio_dir)
    classes = tuple(sorted(set(table["emotion"])))
    rows = {split: table[table["split"] == split] for split in ("train", "val")}
    if config.keep == "best" and rows["val"].empty:
        raise InputError(f"{manifest}: has no validation clips to choose the best epoch on.")
    tf.keras.utils.set_random_seed(config.seed)
    model, extractor = load_upstream(upstream, classes=classes)
    if config.freeze_feature_encoder:
        model.freeze_feature_encoder()
    tuner = _Tuner(model, extractor, classes, config)
    history, best, weights = [], -1.0, model.get_weights()
    for epoch in range(config.epochs):
        loss = tuner.train(rows["train"], f"epoch {epoch + 1}/{config.epochs}")
        if not np.isfinite(loss):
            raise InputError(
                f"config.learning_rate: the loss is {loss} in epoch {epoch + 1} at "
                f"{config.learning_rate}; choose a lower one."
            )
        uar = tuner.uar(rows["val"]) if len(rows["val"]) else None
        history.append({"loss": loss, "val_uar": uar})
        validated = "" if uar is None else f", validation UAR {uar:.1%}"
        tqdm.write(f"epoch {epoch + 1}: loss {loss:.3f}{validated}")
        if config.keep == "last" or uar > best:
            best, kept, weights = uar, epoch, model.get_weights()
    model.set_weights(weights)
    model.save_pretrained(out, safe_serialization=True)
    extractor.save_pretrained(out)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    return {
        "clips": len(rows["train"]),
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "kept_epoch": kept + 1,
        "val_uar": None if best is None else f"{best:.1%}",
    }


class _Tuner:
    """One model in training: the steps in graph mode, and the order of clips."""

    def __init__(
        self,
        model: TFWav2Vec2ForSequenceClassification,
        extractor: Wav2Vec2FeatureExtractor,
        classes: tuple[str, ...],
        config: UpstreamConfig,
    ) -> None:
        self._config = config
        self._labels = {emotion: i for i, emotion in enumerate(classes)}
        self._samples = round(config.clip_seconds * 16_000)
        self._order = np.random.default_rng(config.seed)
        self._metric = UAR(len(classes))
        optimizer = tf.keras.optimizers.Adam(config.learning_rate)
        # Without SpecAugment the mask's embedding takes no part and has no gradient.
        variables = [
            variable
            for variable in model.trainable_variables
            if model.config.apply_spec_augment or "masked_spec_embed" not in variable.name
        ]
        shape = [
            tf.TensorSpec((None, self._samples), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]

        @tf.function(input_signature=shape, autograph=False)
        def train_step(waveform: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                logits = model(standardise(waveform, extractor), training=True).logits
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        @tf.function(input_signature=shape, autograph=False)
        def validation_step(waveform: tf.Tensor, labels: tf.Tensor) -> None:
            logits = model(standardise(waveform, extractor), training=False).logits
            self._metric.update_state(labels, logits)

        self._train_step, self._validation_step = train_step, validation_step

    def train(self, rows: pd.DataFrame, title: str) -> float:
        """Sees every clip once, in a new order; returns the mean loss."""
        rows = rows.iloc[self._order.permutation(len(rows))]
        losses = [
            float(self._train_step(*batch)) * len(batch[1]) for batch in self._batches(rows, title)
        ]
        return sum(losses) / len(rows)

    def uar(self, rows: pd.DataFrame) -> float:
        """Scores every clip once."""
        self._metric.reset_state()
        for batch in self._batches(rows, "validation"):
            self._validation_step(*batch)
        return float(self._metric.result())

    def _batches(self, rows: pd.DataFrame, title: str):
        """Yields waveforms and labels."""
        labels = rows["emotion"].map(self._labels).to_numpy(np.int32)
        start = 0
        with tqdm(total=len(rows), desc=title, unit="clip", leave=False) as bar:
            size = self._config.batch_size
            for waveforms in read_batches(list(rows["audio"]), self._samples, batch=size):
                stop = start + len(waveforms)
                yield waveforms, labels[start:stop]
                bar.update(stop - start)
                start = stop
