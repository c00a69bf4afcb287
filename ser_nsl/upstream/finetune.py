"""The stage that trains the upstream on the emotions of the source corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import audio_paths, read_manifest
from ser_nsl.errors import InputError, refuse
from ser_nsl.lazy import tf
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.settings import FineTuningConfig

if TYPE_CHECKING:
    from ser_nsl.pipeline.progress import Progress
    from ser_nsl.upstream.clips import Clips
    from ser_nsl.upstream.tuner import Tuner

_LEAST_SECONDS = 400 / SAMPLE_RATE_HZ  # one frame of the published convolutions


@stage(inputs=("manifest", "audio_dir", "upstream"), makes="folder", resumes=True)
def finetune_upstream(
    *,
    manifest: Path,
    upstream: str,
    out: Path,
    audio_dir: Path | None = None,
    config: FineTuningConfig = FineTuningConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Fine-tunes a wav2vec 2.0 checkpoint on the emotions of the source corpus.

    The model is `TFWav2Vec2ForSequenceClassification` with a projector of width 256, trained
    with Adam on cross-entropy (arXiv 2210.14977), with SpecAugment as the checkpoint's
    config.json sets it, on all GPUs. Frozen convolutions run only once for each clip. A stopped
    run, started again, resumes after its last whole epoch, and ends with the same weights as one
    that was not stopped (on GPUs with TF_DETERMINISTIC_OPS=1). The base model trains within 4 GB
    with --config.accumulate 8.

    Args:
        manifest: Manifest of the source corpus.
        upstream: Hub name, e.g. facebook/wav2vec2-base, or folder of a checkpoint.
        out: Folder for the checkpoint, in Hugging Face form, `history.json`, and `logs` for
            TensorBoard.
        audio_dir: Audio root; by default the one recorded beside the manifest.
        config: Epochs, learning rate, length of clips.

    Returns:
        Number of clips and of trained parameters, the epoch kept, and its UAR on the validation
        split.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, a validation split is needed and
            lacks an emotion, the disk is full, or the loss is not finite.

    Example:
        >>> finetune_upstream(  # doctest: +SKIP
        ...     manifest=Path("ravdess.csv"), upstream="facebook/wav2vec2-base", out=Path("tuned")
        ... )
    """
    from ser_nsl.pipeline.progress import Progress
    from ser_nsl.upstream.clips import Clips
    from ser_nsl.upstream.tuner import Tuner, all_devices

    table = read_manifest(manifest)
    table = table[table["emotion"] != ""]
    classes = tuple(sorted(set(table["emotion"])))
    rows = {split: table[table["split"] == split] for split in ("train", "val")}
    _check_clips(rows, classes, manifest, config)
    for split, part in rows.items():
        rows[split] = part.assign(audio=audio_paths(part, manifest, audio_dir))
    steps = config.epochs * -(-len(rows["train"]) // config.batch_size)
    tuner = Tuner(upstream, classes, config, steps=steps, strategy=all_devices())
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    progress = Progress(
        work / "epochs", tuner.model.weights, keep=config.keep, optimizer=tuner.optimizer
    )
    clips = Clips(rows["train"], rows["val"], config, tuner, work)
    with tf.summary.create_file_writer(str(out / "logs")).as_default():
        _train(tuner, clips, progress, config)
    progress.restore_kept()
    tuner.model.save_pretrained(out, safe_serialization=True)
    # safetensors writes files that only their owner may read.
    shutil.copymode(out / "config.json", out / "model.safetensors")
    tuner.extractor.save_pretrained(out)
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


def _train(tuner: Tuner, clips: Clips, progress: Progress, config: FineTuningConfig) -> None:
    """Runs the remaining epochs, with a bar over all of them."""
    done = len(progress.history)
    if done:
        Bar.write(f"resumes after epoch {done}")
    total, initial = config.epochs * clips.trained, done * clips.trained
    with Bar(desc="fine-tuning", total=total, initial=initial, unit="clip") as bar:
        for epoch in range(done, config.epochs):
            random = np.random.default_rng([config.seed, epoch])
            shown: dict[str, str | None] = {"epoch": f"{epoch + 1}/{config.epochs}"}
            if progress.history and clips.validated:
                shown["uar"] = _percent(progress.history[-1]["val_uar"])
            losses = []
            for ids, inputs, labels in clips.training(random):
                loss = tuner.train(inputs, labels, random)
                if not np.isfinite(loss):
                    raise InputError(
                        f"config.learning_rate: the loss is {loss} in epoch {epoch + 1} at "
                        f"{config.learning_rate}, in the batch of {', '.join(ids)}; listen to "
                        "these clips, or choose a lower rate."
                    )
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
    config: FineTuningConfig,
) -> None:
    missing = sorted(set(classes) - set(rows["val"]["emotion"]))
    if config.keep == "best" and missing:
        raise InputError(
            f"{manifest}: the validation split, on which the best epoch is chosen, has no clip of "
            f"{', '.join(missing)}; prepare the corpus with other validation speakers "
            "(--split.seed, --split.val-share), leave these emotions out (--leave-out), or choose "
            "--config.keep last."
        )
    for split, clips in rows.items():
        short = clips[clips["duration_seconds"] < _LEAST_SECONDS]
        rule = f"{manifest}: clips of split {split} are shorter than {_LEAST_SECONDS} s"
        refuse(short["utterance_id"], rule, "Remove them.")


def _log(epoch: int, loss: float, uar: float | None, learning_rate: float) -> None:
    for name, value in (("loss", loss), ("learning_rate", learning_rate), ("val_uar", uar)):
        if value is not None:
            tf.summary.scalar(name, value, step=epoch + 1)
    tf.summary.flush()
    validated = "" if uar is None else f", validation UAR {_percent(uar)}"
    Bar.write(f"epoch {epoch + 1}: loss {loss:.3f}{validated}")


def _percent(uar: float | None) -> str | None:
    return None if uar is None else f"{uar:.1%}"
