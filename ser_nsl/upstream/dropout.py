"""Dropout that follows from a seed, so that a killed training can be resumed exactly."""

from collections.abc import Callable

import tensorflow as tf
from transformers.modeling_tf_utils import keras  # tf.keras may be another package

_REPLICA_STRIDE = 1_000_000  # more than the dropout layers of a model


class SeededDropout(keras.layers.Layer):
    """Dropout that drops the same for the same seed.

    The state of Keras's own dropout, a count of its calls, is not part of a checkpoint.
    """

    def __init__(self, rate: float, seed: Callable[[], tf.Tensor]) -> None:
        """Makes the layer.

        Args:
            rate: Share of the inputs to drop, 0 up to 1.
            seed: Function that gives int64, shape `(2,)`, when the layer is called.
        """
        super().__init__()
        self._rate = rate
        self._seed = seed

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops inputs in training; otherwise changes nothing."""
        if not training or self._rate == 0:
            return inputs
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.random.experimental.stateless_fold_in(
            self._seed(), tf.cast(replica, tf.int64) * _REPLICA_STRIDE
        )
        return tf.nn.experimental.stateless_dropout(inputs, self._rate, seed=seed)


def seed_dropout(model: keras.Model) -> tf.Variable:
    """Replaces every dropout layer of a model by `SeededDropout`.

    Args:
        model: Model whose dropout layers are attributes of its layers. It is changed.

    Returns:
        The seed, int64, shape `(2,)`, to be set before each step.
    """
    seed = tf.Variable([0, 0], dtype=tf.int64, trainable=False, name="dropout_seed")
    found = [
        (layer, name, part)
        for layer in (model, *model.submodules)
        for name, part in vars(layer).items()
        if isinstance(part, keras.layers.Dropout)
    ]
    for number, (layer, name, part) in enumerate(found):

        def seed_of_layer(number: int = number) -> tf.Tensor:
            return tf.random.experimental.stateless_fold_in(seed, number)

        setattr(layer, name, SeededDropout(part.rate, seed_of_layer))
    return seed
