"""The stage that teaches a light network what a large encoder hears, before it sees any label."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.lazy import tf
from ser_nsl.networks import NetworkName
from ser_nsl.networks.saved import save_model
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.settings import Lessons, TeachingConfig

_LEAST_DEVIATION_DB = 1e-3


@stage(inputs=("speech", "teacher"), makes="folder", resumes=True)
def teach_network(
    *,
    speech: tuple[Path, ...],
    teacher: str,
    out: Path,
    model: NetworkName = "cnn_tdnn",
    method: Lessons = "frames",
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
    config: TeachingConfig = TeachingConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Teaches a light network what a large encoder hears, on speech without labels.

    The network can then be trained on few labels: `train-downstream --start`. A teaching that was
    stopped goes on after its last whole epoch. While it runs, its folder holds what is heard in
    each window, for two layers of Whisper base 0.1 GB for 1,000 windows of 3 s.

    Args:
        speech: Folders, of which every clip is used, and manifests, of which the clips of the
            training split are used.
        teacher: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper.
        out: Folder for the network up to fc1, and `history.json`.
        model: Network to teach.
        method: What it learns: the teacher's `frames`, and their mean and deviation; or only the
            `similarity` of windows to each other, as fc1 divides it.
        front_end: Settings of log Mel.
        config: Layers of the teacher, windows, damages, epochs.

    Returns:
        Numbers of clips and epochs, and the loss on clips that were kept for checking after the
        first and the last epoch: for `frames` the share of the variance of mean and deviation that
        is not explained.

    Raises:
        InputError: If the checkpoint or a clip cannot be used, there are too few clips, the network
            lacks a layer, the disk has too little room, or the loss is not finite.

    Example:
        >>> made = teach_network(  # doctest: +SKIP
        ...     speech=(Path("speech"),), teacher="openai/whisper-base", out=Path("taught")
        ... )
    """
    from ser_nsl.pipeline.progress import Progress
    from ser_nsl.training.heard import HeardWindows
    from ser_nsl.training.lesson import Lesson, parts_of
    from ser_nsl.training.train import build_network
    from ser_nsl.upstream.checkpoint import load_upstream
    from ser_nsl.upstream.lessons import run_lesson
    from ser_nsl.upstream.windows import find_speech, keep_for_checking

    trained, checked = keep_for_checking(find_speech(speech), config)
    encoder = load_upstream(teacher).encoder
    encoder.check_layers(config.layers)
    samples = front_end.clip_samples(config.window_seconds)
    encoder.check_window(round(config.window_seconds * SAMPLE_RATE_HZ))
    tf.keras.utils.set_random_seed(config.seed)
    flat = (0.0,) * front_end.mel_bins, (1.0,) * front_end.mel_bins
    sketch = build_network(model, Description(front_end, samples, ("none",), *flat), None)
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    how = encoder, parts_of(sketch, method), config, front_end
    check = HeardWindows(checked, *how, work / "checked")
    heard = HeardWindows(trained, *how, work / "heard")
    description = Description(front_end, samples, ("none",), *_scale(heard.first.logmel))
    tf.keras.utils.set_random_seed(config.seed)
    network = build_network(model, description, None)
    steps = config.epochs * (len(trained) // config.batch_size)
    lesson = Lesson(network, description, heard.first, method, config, steps=steps)
    saved = [*network.weights, *lesson.head_variables]
    progress = Progress(work / "epochs", saved, keep="last", optimizer=lesson.optimizer)
    run_lesson(
        progress,
        config,
        steps=len(trained) // config.batch_size,
        batches=heard.batches,
        train=lambda batch, step: lesson.train(batch, tf.constant([config.seed, step], tf.int64)),
        check=lesson.losses,
        checked=check.batches(0),
        desc="teaching",
    )
    body = tf.keras.Model(network.input, network.get_layer("fc1").output, name=network.name)
    body.compile()  # else Keras warns, when it is saved, of metrics that are not built
    save_model(body, replace(description, classes=()), out)
    (out / "history.json").write_text(json.dumps(progress.history, indent=1) + "\n")
    shutil.rmtree(work)
    first, last = progress.history[0], progress.history[-1]
    return {
        "clips": len(trained),
        "epochs": len(progress.history),
        "first_loss": round(first["checked"][0], 4),
        "last_loss": round(last["checked"][0], 4),
    }


def _scale(logmel: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band over at most 1,000 windows."""
    bands = logmel[:1_000].astype(np.float64).reshape(-1, logmel.shape[-1])
    mean, deviation = bands.mean(axis=0), np.maximum(bands.std(axis=0), _LEAST_DEVIATION_DB)
    return tuple(mean.tolist()), tuple(deviation.tolist())
