"""The learning rate of every step."""

import json
from typing import TypeAlias

import tensorflow as tf

from ser_nsl.training.settings import TrainingConfig

Schedule: TypeAlias = tf.keras.optimizers.schedules.LearningRateSchedule


def learning_rate_schedule(config: TrainingConfig, steps: int) -> Schedule:
    """Makes the schedule of a training.

    Args:
        config: With `schedule`, or else learning rate and decay.
        steps: Of an epoch.

    Returns:
        A function of the number of steps already taken.
    """
    if config.schedule is not None:
        return read_schedule(config.schedule)
    return tf.keras.optimizers.schedules.ExponentialDecay(
        config.learning_rate, config.decay_epochs * steps, config.decay, staircase=True
    )


def read_schedule(text: str) -> Schedule:
    """Makes a schedule of Keras.

    Args:
        text: In JSON, what `tf.keras.optimizers.schedules.serialize` gives; `class_name` and
            `config` suffice.

    Raises:
        ValueError: If Keras cannot make it, or it does not start with a rate.
    """
    try:
        given = json.loads(text)
        # Not `deserialize`, which may take the class from transformers' Keras.
        kind = getattr(tf.keras.optimizers.schedules, given["class_name"])
        schedule = kind.from_config(given["config"])
        rate = float(schedule(tf.constant(0, tf.int64)))
    except Exception as error:  # whatever Keras has to say
        raise ValueError(
            'schedule must be JSON of a Keras schedule, {"class_name": ..., "config": {...}}; '
            f"received {text!r} ({error})"
        ) from error
    if not 0 <= rate < float("inf"):
        raise ValueError(
            f"schedule must start with a rate of 0 or more; {text!r} starts with {rate}"
        )
    return schedule
