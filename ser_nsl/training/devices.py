"""The devices that a training runs on: those of several machines, several GPUs, or one device."""

import json
import os

import tensorflow as tf

from ser_nsl.errors import InputError


def all_devices() -> tf.distribute.Strategy:
    """Everything there is to train on.

    Where `TF_CONFIG` says that this process is one of several workers, the devices of all of
    them; they must be asked for before TensorFlow does anything else. Otherwise the GPUs of this
    machine if there are several, else the one device there is.

    Raises:
        InputError: If `TF_CONFIG` is not JSON, or TensorFlow is already at work.
    """
    if "TF_CONFIG" in os.environ:
        try:
            json.loads(os.environ["TF_CONFIG"])
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"TF_CONFIG: does not start a worker ({error}); give it as TensorFlow's guide to "
                "distributed training says, to tools/train_downstream.py alone."
            ) from error
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def check_shares(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Checks that a batch can be divided.

    Raises:
        InputError: If devices would get unequal shares.
    """
    devices = strategy.num_replicas_in_sync
    if batch_size % devices:
        raise InputError(
            f"training.batch_size: must be a multiple of the devices, that is of {devices}; "
            f"received {batch_size}. Choose another, or hide devices with CUDA_VISIBLE_DEVICES."
        )


def divided(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that every worker makes alike, and of which it takes its part."""
    options = tf.data.Options()
    # Its thread sleeps ever longer, and the end of an epoch may wait for it, as of TensorFlow 2.15:
    # up to a third of an epoch of half a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)
