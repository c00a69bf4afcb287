"""The stage that teaches a small wav2vec 2.0 what a large encoder hears."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.pipeline.stage import stage
from ser_nsl.upstream.lessons import run_lesson
from ser_nsl.upstream.settings import DistillationConfig
from ser_nsl.upstream.windows import find_speech, keep_for_checking, window_batches

if TYPE_CHECKING:
    from ser_nsl.pipeline.progress import Progress
    from ser_nsl.upstream.student import Lesson
    from ser_nsl.upstream.teacher_frames import TeacherFrames
    from ser_nsl.upstream.wav2vec2 import Wav2Vec2Encoder


@stage(inputs=("speech", "teacher", "student"), makes="folder", resumes=True)
def distill_upstream(
    *,
    speech: tuple[Path, ...],
    teacher: str,
    out: Path,
    student: str | None = None,
    config: DistillationConfig = DistillationConfig(),  # noqa: B008 (frozen)
) -> Mapping[str, Any]:
    """Teaches a small wav2vec 2.0 to predict a large encoder's frames, on speech without labels.

    As DistilHuBERT (arXiv 2110.01900), with noise, narrow bands and a telephone's codec on the
    student's input only, so that it hears through them. A stopped run, started again, resumes
    after its last whole epoch.

    Args:
        speech: Folders, of which every clip is used, and manifests, of which the clips of the
            training split are used.
        teacher: Folder or hub name of a wav2vec 2.0, a HuBERT or a Whisper.
        out: Folder for the student in Hugging Face form, float16, and `history.json`.
        student: Folder of a wav2vec 2.0 to start from; by default a new one of the size of
            `config.student`.
        config: Layers of the teacher, size of the student, epochs.

    Returns:
        Number of training clips and of the student's parameters, and the loss of frames on clips
        that were kept for checking, after the first and after the last epoch.

    Raises:
        InputError: If a checkpoint or a clip cannot be used, the two have frames at different
            rates, there are too few clips, or the loss is not finite.

    Example:
        >>> distill_upstream(  # doctest: +SKIP
        ...     speech=(Path("speech"),), teacher="openai/whisper-base", out=Path("student")
        ... )
    """
    paths = find_speech(speech)
    from ser_nsl.pipeline.progress import Progress
    from ser_nsl.upstream.checkpoint import load_upstream, save_encoder
    from ser_nsl.upstream.student import Lesson, new_student
    from ser_nsl.upstream.teacher_frames import TeacherFrames

    trained, checked = keep_for_checking(paths, config)
    own = new_student(config.student, config.seed) if student is None else _read_student(student)
    steps = config.epochs * (len(trained) // config.batch_size)
    lesson = Lesson(own, load_upstream(teacher).encoder, config, steps=steps)
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    saved = [*own.body.weights, *lesson.variables, *lesson.constants]
    progress = Progress(work / "epochs", saved, keep="last", optimizer=lesson.optimizer)
    heard = TeacherFrames(lesson, len(trained), work)
    with _multiplying(config.bfloat16):
        _learn(lesson, progress, heard, trained, checked)
    save_encoder(own, out, half=True)
    (out / "history.json").write_text(json.dumps(progress.history, indent=1) + "\n")
    shutil.rmtree(work)
    first, last = progress.history[0], progress.history[-1]
    return {
        "clips": len(trained),
        "parameters": own.parameters,
        "first_loss": round(first["checked"][0], 4),
        "last_loss": round(last["checked"][0], 4),
    }


@contextmanager
def _multiplying(in_16_bits: bool) -> Iterator[None]:
    """Lets TensorFlow round the factors of products to bfloat16, in functions traced meanwhile."""
    option = "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({option: in_16_bits})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: False})


def _learn(
    lesson: Lesson,
    progress: Progress,
    heard: TeacherFrames,
    paths: Sequence[Path],
    checked: Sequence[Path],
) -> None:
    """Runs the remaining epochs."""

    def batches(epoch: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        for windows in window_batches(paths, lesson.config, epoch):
            yield heard.of(windows, epoch), tf.constant(windows.damaged)

    check = [
        (lesson.targets(tf.constant(windows.clean)), tf.constant(windows.damaged))
        for windows in window_batches(checked, lesson.config, 0)
    ]
    if not progress.history:
        lesson.fit_scale(np.concatenate([frames for frames, _ in check]))
    run_lesson(
        progress,
        lesson.config,
        steps=len(paths) // lesson.config.batch_size,
        batches=batches,
        train=lambda batch, _: lesson.train(*batch),
        check=lambda batch: lesson.losses(*batch),
        checked=check,
        desc="distilling",
    )


def _read_student(student: str) -> Wav2Vec2Encoder:
    from ser_nsl.upstream.checkpoint import load_upstream

    encoder = load_upstream(student).encoder
    if encoder.architecture != "wav2vec2":
        raise InputError(
            f"student: must be a wav2vec 2.0; {student!r} is a {encoder.architecture}."
        )
    return cast("Wav2Vec2Encoder", encoder)
