"""The transfer-learning baselines: the upstream's embedding joins the network at `fc1`.

They need the upstream for every prediction, so they cannot run on a phone.
"""

from __future__ import annotations

from ser_nsl.lazy import tf
from ser_nsl.networks.blocks import EMBEDDING_WIDTH


def with_embedding(network: tf.keras.Model, method: str) -> tf.keras.Model:
    """Joins the upstream's embedding of the same clip to `fc1` (arXiv 2210.14977, section 3).

    Args:
        network: Network with layers `fc1` (256 units) and `fc2`.
        method: `add` for the sum of the two, `max` for the maximum, `avg` for the mean.

    Returns:
        Model with inputs `logmel` and `embedding`, shape `(batch, 256)`; it shares the
        network's layers.
    """
    layers = tf.keras.layers
    merges = {"add": layers.Add, "max": layers.Maximum, "avg": layers.Average}
    embedding = tf.keras.Input((EMBEDDING_WIDTH,), name="embedding")
    # Not the name `add`, which Keras gives to layers of ResNet-9.
    merge = merges[method](name=f"{method}_embedding")
    merged = merge([network.get_layer("fc1").output, embedding])
    logits = network.get_layer("fc2")(merged)
    return tf.keras.Model([*network.inputs, embedding], logits, name=f"{network.name}_{method}")
