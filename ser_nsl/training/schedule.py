"""The learning rate of every step."""

from __future__ import annotations

import json

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf
from ser_nsl.training.settings import TrainingConfig


def learning_rate_schedule(
    config: TrainingConfig, steps: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Makes the learning rate schedule of a training.

    Args:
        config: Settings, with `schedule`, or else learning rate and decay.
        steps: Number of steps in an epoch.

    Returns:
        Function from the number of steps taken to the learning rate.

    Raises:
        InputError: If Keras cannot make `schedule`, or its first rate is negative or not finite.
    """
    if config.schedule is None:
        return tf.keras.optimizers.schedules.ExponentialDecay(
            config.learning_rate, config.decay_epochs * steps, config.decay, staircase=True
        )
    try:
        form = json.loads(config.schedule)
        # Not `deserialize`, which may take the class from transformers' Keras.
        kind = getattr(tf.keras.optimizers.schedules, form["class_name"])
        schedule = kind.from_config(form["config"])
        rate = float(schedule(tf.constant(0, tf.int64)))
    except Exception as error:  # Keras raises errors of any kind
        raise InputError(
            f"training.schedule: Keras cannot make {config.schedule!r} ({error}); give what "
            "tf.keras.optimizers.schedules.serialize returns."
        ) from error
    if not 0 <= rate < float("inf"):
        raise InputError(
            f"training.schedule: must start with a rate of 0 or more; {config.schedule!r} starts "
            f"with {rate}."
        )
    return schedule
