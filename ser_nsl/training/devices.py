"""The devices that a training runs on: those of several machines, several GPUs, or one device."""

from __future__ import annotations

import functools
import json
import os

from ser_nsl.errors import InputError
from ser_nsl.lazy import tf


def all_devices() -> tf.distribute.Strategy:
    """Returns the strategy of this process for all devices that there are, always the same one.

    Where `TF_CONFIG` says that this process is one of several workers, these are the devices of all
    workers, and this must be called before TensorFlow does anything else. Otherwise they are the
    GPUs of this machine if there are several, else one device.

    Raises:
        InputError: If `TF_CONFIG` is not JSON, or TensorFlow has already started.
    """
    if "TF_CONFIG" in os.environ:
        return _workers(os.environ["TF_CONFIG"])
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return _gpus()
    return tf.distribute.get_strategy()


# A process has one strategy: workers can be started once only, and a second strategy beside a first
# would take other groups of the same devices.
@functools.cache
def _workers(cluster: str) -> tf.distribute.Strategy:
    try:
        json.loads(cluster)
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"TF_CONFIG: does not start a worker ({error}); set it as TensorFlow's guide to "
            "distributed training says, for `ser-nsl train-downstream` only."
        ) from error


@functools.cache
def _gpus() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy()


def check_shares(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Checks that the devices get equal shares of a batch.

    Args:
        batch_size: Clips per batch.
        strategy: Strategy of the devices.

    Raises:
        InputError: If they do not.
    """
    devices = strategy.num_replicas_in_sync
    if batch_size % devices:
        raise InputError(
            f"training.batch_size: must be a multiple of the number of devices, {devices}; "
            f"received {batch_size}. Choose another, or hide devices with CUDA_VISIBLE_DEVICES."
        )


def divided(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Has each worker take its share of every batch, where all make the same batches.

    Args:
        batches: The batches of all devices.
    """
    options = tf.data.Options()
    # The thread of autotuning sleeps ever longer, and the end of an epoch may wait for it (as of
    # TensorFlow 2.15): up to a third of an epoch of half a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)
