"""The transfer-learning baselines: the upstream's embedding joins the network at `fc1`.

They need the upstream at prediction time, so they cannot leave for a phone.
"""

from typing import Literal

import tensorflow as tf

from ser_nsl.networks.blocks import EMBEDDING_WIDTH

TransferMethod = Literal["add", "max", "avg"]

_MERGES: dict[str, type[tf.keras.layers.Layer]] = {
    "add": tf.keras.layers.Add,
    "max": tf.keras.layers.Maximum,
    "avg": tf.keras.layers.Average,
}


def with_embedding(network: tf.keras.Model, method: TransferMethod) -> tf.keras.Model:
    """Joins the upstream's embedding of the same clip to `fc1` (arXiv 2210.14977, section 3).

    Args:
        network: With layers `fc1` (256 numbers) and `fc2`.
        method: Sum, larger one, or mean of the two.

    Returns:
        Model with inputs `logmel` and `embedding`, shape `(batch, 256)`; it shares the
        network's layers.
    """
    embedding = tf.keras.Input((EMBEDDING_WIDTH,), name="embedding")
    # ResNet-9 has layers that Keras names `add`.
    merge = _MERGES[method](name=f"{method}_embedding")
    merged = merge([network.get_layer("fc1").output, embedding])
    logits = network.get_layer("fc2")(merged)
    return tf.keras.Model([*network.inputs, embedding], logits, name=f"{network.name}_{method}")
