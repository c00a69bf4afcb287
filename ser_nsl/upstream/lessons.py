"""The epochs in which a network learns from a teacher, checked on clips that are kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.upstream.settings import LessonConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from ser_nsl.pipeline.progress import Progress

Batch = TypeVar("Batch")


def run_lesson(
    progress: Progress,
    config: LessonConfig,
    *,
    steps: int,
    batches: Callable[[int], Iterable[Batch]],
    train: Callable[[Batch, int], tf.Tensor],
    check: Callable[[Batch], tf.Tensor],
    checked: Iterable[Batch],
    desc: str,
) -> None:
    """Runs the epochs that remain, with a bar over all of them.

    Args:
        progress: What is done; its history gets the mean losses of each epoch, `trained` and
            `checked`.
        config: Number of epochs.
        steps: Number of batches in an epoch.
        batches: Returns the batches of an epoch, given its number from 0.
        train: Takes a step, given a batch and the number of the step from 0, over all epochs;
            returns the losses, shape `(losses,)`.
        check: Computes the losses of a batch without a step.
        checked: Batches of the clips that are kept for checking.
        desc: What the bar says.

    Raises:
        InputError: If a loss is not finite.
    """
    checked, done = [*checked], len(progress.history)
    if done:
        Bar.write(f"resumes after epoch {done}")
    with Bar(desc=desc, total=config.epochs * steps, initial=done * steps, unit="step") as bar:
        for epoch in range(done, config.epochs):
            losses = []
            for step, batch in enumerate(batches(epoch), epoch * steps):
                losses.append(np.asarray(train(batch, step)))
                if not np.isfinite(losses[-1]).all():
                    raise InputError(
                        f"config.learning_rate: the loss is {losses[-1]} in epoch {epoch + 1} at "
                        f"{config.learning_rate}; choose a lower rate."
                    )
                shown = {"epoch": f"{epoch + 1}/{config.epochs}", "loss": f"{losses[-1][0]:.3f}"}
                if progress.history:
                    shown["checked"] = f"{progress.history[-1]['checked'][0]:.3f}"
                bar.set_postfix(shown)
                bar.update()
            progress.save(
                {
                    "trained": np.mean(losses, axis=0).tolist(),
                    "checked": np.mean([check(batch) for batch in checked], axis=0).tolist(),
                }
            )
