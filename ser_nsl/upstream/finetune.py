"""The stage that teaches the upstream the emotions of the source corpus."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.clips import Clips
from ser_nsl.upstream.encoder import LEAST_SAMPLES
from ser_nsl.upstream.settings import UpstreamConfig
from ser_nsl.upstream.tuner import Tuner, all_devices

_LEAST_SECONDS = LEAST_SAMPLES / SAMPLE_RATE_HZ


@stage(inputs=("manifest", "audio_dir", "upstream"), makes="folder", resumes=True)
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
    with Adam on cross entropy (arXiv 2210.14977), with SpecAugment as the checkpoint's
    config.json says, on all GPUs. Where the convolutions are frozen, they run only once for each
    clip. A run that was stopped goes on after its last whole epoch, and ends with the same
    weights as one that was not (on GPUs with TF_DETERMINISTIC_OPS=1). The base model trains
    within 4 GB with --config.accumulate 8.

    Args:
        manifest: The source corpus.
        upstream: Hub name, e.g. facebook/wav2vec2-base, or folder of a checkpoint.
        out: Folder for the checkpoint, in Hugging Face form, `history.json`, and `logs` for
            TensorBoard.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        config: Epochs, learning rate, length of clips.

    Returns:
        Numbers of clips and trained parameters, the epoch kept, and its UAR on the validation
        split.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, an emotion or validation is
            missing in a split that needs it, the disk is full, or the loss is not finite.
    """
    table = read_manifest(manifest)
    table = table[table["emotion"] != ""]
    table["audio"] = audio_paths(table, manifest, audio_dir)
    classes = tuple(sorted(set(table["emotion"])))
    rows = {split: table[table["split"] == split] for split in ("train", "val")}
    _check_clips(rows, classes, manifest, config)
    steps = config.epochs * -(-len(rows["train"]) // config.batch_size)
    tuner = Tuner(upstream, classes, config, steps=steps, strategy=all_devices())
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    progress = Progress(work / "epochs", tuner.weights, keep=config.keep, optimizer=tuner.optimizer)
    clips = Clips(rows["train"], rows["val"], config, tuner, work)
    if config.statistics:
        tuner.hear(clips.some())
    with tf.summary.create_file_writer(str(out / "logs")).as_default():
        _train(tuner, clips, progress, config, out)
    progress.restore_kept()
    _save_checkpoint(tuner, out)
    (out / "history.json").write_text(json.dumps(progress.history, indent=1) + "\n")
    progress.remove()
    shutil.rmtree(work)
    kept = progress.kept_epoch
    return {
        "clips": len(rows["train"]),
        "parameters": sum(int(np.prod(v.shape)) for v in tuner.model.trainable_variables),
        "kept_epoch": kept + 1,
        "val_uar": _percent(progress.history[kept]["val_uar"]),
    }


def _train(
    tuner: Tuner, clips: Clips, progress: Progress, config: UpstreamConfig, out: Path
) -> None:
    """Runs the epochs that are still to be run, with a bar over all of them."""
    done = len(progress.history)
    if done:
        tqdm.write(f"goes on after epoch {done} of a run that was stopped")
    with tqdm(
        desc="fine-tuning",
        total=config.epochs * clips.trained,
        initial=done * clips.trained,
        unit="clip",
    ) as bar:
        for epoch in range(done, config.epochs):
            random = np.random.default_rng([config.seed, epoch])
            shown: dict[str, str | None] = {"epoch": f"{epoch + 1}/{config.epochs}"}
            if progress.history and clips.validated:
                shown["uar"] = _percent(progress.history[-1]["val_uar"])
            losses = []
            for ids, inputs, labels in clips.training(epoch, random):
                loss = tuner.train(inputs, labels, random)
                if not np.isfinite(loss):
                    _stop(loss, ids, config, progress, tuner, out)
                losses.append(loss * len(labels))
                bar.set_postfix(shown | {"loss": f"{loss:.3f}"})
                bar.update(len(labels))
            loss = sum(losses) / clips.trained
            uar = tuner.uar(clips.validation()) if clips.validated else None
            _log(epoch, loss, uar, float(tuner.optimizer.learning_rate.numpy()))
            progress.save({"loss": loss, "val_uar": uar})


def _check_clips(
    rows: Mapping[str, pd.DataFrame],
    classes: tuple[str, ...],
    manifest: Path,
    config: UpstreamConfig,
) -> None:
    if config.keep == "best" and rows["val"].empty:
        raise InputError(
            f"{manifest}: has no validation clips to choose the best epoch on; prepare the corpus "
            "with a validation split, or choose --config.keep last."
        )
    missing = sorted(set(classes) - set(rows["val"]["emotion"]))
    if config.keep == "best" and missing:
        raise InputError(
            f"{manifest}: the validation split, on which the best epoch is chosen, has no clip of "
            f"{', '.join(missing)}; prepare the corpus with other speakers in it (--split.seed, "
            "--split.val-share), leave these emotions out (--leave-out), or choose --config.keep "
            "last."
        )
    for split, clips in rows.items():
        short = clips[clips["duration_seconds"] < _LEAST_SECONDS]
        if len(short):
            raise InputError(
                f"{manifest}: clips must have {_LEAST_SECONDS} s or more; {len(short)} of split "
                f"{split} are shorter (first: {', '.join(short['utterance_id'][:3])}). Remove them."
            )


def _stop(
    loss: float,
    ids: Sequence[str],
    config: UpstreamConfig,
    progress: Progress,
    tuner: Tuner,
    out: Path,
) -> None:
    """Puts the last good epoch where it can be used, and says what was wrong."""
    done = len(progress.history)
    message = (
        f"config.learning_rate: the loss is {loss} in epoch {done + 1} at {config.learning_rate}, "
        f"in the batch of {', '.join(ids)}; listen to these clips, or choose a lower rate."
    )
    if done:
        progress.restore_last()
        _save_checkpoint(tuner, out)
        message += f" The weights of epoch {done} are in {out}; move them away to keep them."
    raise InputError(message)


def _save_checkpoint(tuner: Tuner, folder: Path) -> None:
    tuner.model.save_pretrained(folder, safe_serialization=True)
    tuner.extractor.save_pretrained(folder)


def _log(epoch: int, loss: float, uar: float | None, learning_rate: float) -> None:
    tf.summary.scalar("loss", loss, step=epoch + 1)
    tf.summary.scalar("learning_rate", learning_rate, step=epoch + 1)
    if uar is not None:
        tf.summary.scalar("val_uar", uar, step=epoch + 1)
    tf.summary.flush()
    validated = "" if uar is None else f", validation UAR {_percent(uar)}"
    tqdm.write(f"epoch {epoch + 1}: loss {loss:.3f}{validated}")


def _percent(uar: float | None) -> str | None:
    return None if uar is None else f"{uar:.1%}"
