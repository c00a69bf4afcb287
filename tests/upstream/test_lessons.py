from types import SimpleNamespace

import pytest

from ser_nsl.errors import InputError
from ser_nsl.upstream.lessons import run_lesson
from ser_nsl.upstream.settings import LessonConfig


def lesson(history, train):
    """Runs three epochs of two batches, which are named by epoch and place."""
    progress = SimpleNamespace(history=history, save=history.append)
    run_lesson(
        progress,
        LessonConfig(epochs=3),
        steps=2,
        batches=lambda epoch: [f"{epoch}a", f"{epoch}b"],
        train=train,
        check=lambda batch: [len(batch)],
        checked=iter(["xx", "xxxx"]),
        desc="learning",
    )


def test_steps_count_over_all_epochs_and_go_on_where_a_run_stopped():
    taken, done = [], {"trained": [0.0], "checked": [0.0]}

    def train(batch, step):
        taken.append((batch, step))
        return [float(step)]

    history = [done]
    lesson(history, train)

    assert taken == [("1a", 2), ("1b", 3), ("2a", 4), ("2b", 5)]
    assert history == [
        done,
        {"trained": [2.5], "checked": [3.0]},
        {"trained": [4.5], "checked": [3.0]},
    ]


def test_a_loss_that_is_not_finite_ends_it_before_the_epoch_is_saved():
    history = []

    with pytest.raises(InputError, match=r"learning_rate: the loss is \[.*nan\] in epoch 2 at"):
        lesson(history, lambda _, step: [1.0, float("nan") if step == 3 else 0.0])
    assert len(history) == 1
