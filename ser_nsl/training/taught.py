"""What a network learns from an upstream's vector of each clip, beside the labels.

| Method | Vectors | What is added to the loss of the labels, times `alpha` |
|---|---|---|
| `embedding` | embeddings | the squared error of a linear layer that predicts them from fc1 |
| `similarity` | embeddings | how fc1 divides a clip's similarity among the others of its batch |
| `probabilities` | probabilities of emotions | the cross-entropy of the network's own |

`embedding` is regression on hidden features (arXiv 1412.6550), `similarity` a dense graph of the
batch (relational distillation, arXiv 1904.05068 and 2007.01951), `probabilities` distillation with
soft labels (arXiv 1503.02531). Clips without a label learn from their vectors alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_nsl.audio.records import read_embeddings
from ser_nsl.training.probabilities import check_probabilities
from ser_nsl.training.settings import Method
from ser_nsl.training.tap import Tap, check_layer

VECTORS = "embedding"
"""Name of the input that holds a clip's vector."""

_LAYER = "fc1"
_TEMPERATURE = 0.1
_LEAST_DEVIATION = 1e-3
_NEVER = -1e9  # similarity of a clip to itself


class Taught(tf.keras.Model):
    """A network in training that also learns from a vector of each clip.

    Inputs are those of the network and, in training, `embedding`, shape `(batch, width)`.
    Evaluation and prediction are those of the network.

    Example:
        >>> network = tf.keras.Sequential([
        ...     tf.keras.Input((36, 64), name="logmel"),  # frames x Mel bands
        ...     tf.keras.layers.GlobalAveragePooling1D(),
        ...     tf.keras.layers.Dense(16, name="fc1"),
        ...     tf.keras.layers.Dense(3, name="fc2"),
        ... ])
        >>> vectors = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
        >>> model = Taught(network, "similarity", vectors, alpha=1.0)
        >>> model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> inputs = {"logmel": np.zeros((8, 36, 64), np.float32), "embedding": vectors}
        >>> sorted(model.fit(inputs, np.zeros(8), verbose=0).history)
        ['loss', 'taught_loss']
    """

    def __init__(
        self, network: tf.keras.Model, method: Method, vectors: np.ndarray, *, alpha: float
    ) -> None:
        """Wraps a network.

        Args:
            network: Network with a layer `fc1`.
            method: `embedding`, `similarity` or `probabilities`.
            vectors: Vectors of the training clips, float, shape `(clips, width)`, to standardise
                embeddings by.
            alpha: Weight of what is added to the loss.

        Raises:
            InputError: If the network has no layer `fc1`.
        """
        super().__init__(name=f"taught_{network.name}")
        self._autocast = False  # in mixed precision only the network rounds
        self.network, self._method, self._alpha = network, method, alpha
        layer = check_layer(network, _LAYER)
        self._tap = Tap(layer)
        self._mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = vectors.std(axis=0, dtype=np.float64).astype(np.float32)
        self._deviation = np.maximum(deviation, _LEAST_DEVIATION)
        if method == "embedding":
            self._head = tf.keras.layers.Dense(vectors.shape[1], dtype="float32", name="head")
            self._head.build((None, layer.output_shape[-1]))

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Computes logits, and adds to the loss where clips come with vectors."""
        features = {name: value for name, value in inputs.items() if name != VECTORS}
        logits = self.network(features, training=training)
        hidden = tf.cast(self._tap.take(), tf.float32)
        if VECTORS in inputs:
            loss = self._alpha * self._loss(inputs[VECTORS], hidden, logits)
            self.add_metric(loss, name="taught_loss", aggregation="mean")
            self.add_loss(loss)
        return logits

    def _loss(self, vectors: tf.Tensor, hidden: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if self._method == "probabilities":
            return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(vectors, logits))
        standardised = (vectors - self._mean) / self._deviation
        if self._method == "embedding":
            return tf.reduce_mean((self._head(hidden) - standardised) ** 2)
        return divergence_of_similarities(standardised, hidden)


def divergence_of_similarities(expected: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    """Compares how each clip's similarity is divided among the others of a batch.

    Args:
        expected: Vectors that say how, shape `(batch, width)`.
        own: Vectors that learn it, shape `(batch, any width)`.

    Returns:
        Mean divergence in nats, a scalar.
    """
    oneself = tf.eye(tf.shape(own)[0], dtype=tf.bool)
    wanted, given = (
        tf.nn.log_softmax(tf.where(oneself, _NEVER, _similarities(each)))
        for each in (expected, own)
    )
    terms = tf.where(oneself, 0.0, tf.exp(wanted) * (wanted - given))
    return tf.reduce_mean(tf.reduce_sum(terms, axis=-1))


def _similarities(vectors: tf.Tensor) -> tf.Tensor:
    """Cosines around the mean of the batch, over the temperature: shape `(batch, batch)`."""
    directions = tf.math.l2_normalize(vectors - tf.reduce_mean(vectors, axis=0), axis=-1)
    return tf.matmul(directions, directions, transpose_b=True) / _TEMPERATURE


def taught(
    network: tf.keras.Model,
    method: Method,
    embeddings: Path,
    *,
    splits: Sequence[str],
    classes: int,
    alpha: float,
) -> Taught:
    """Wraps a network so that it learns from the vectors of a folder.

    Args:
        network: The network.
        method: `embedding`, `similarity` or `probabilities`.
        embeddings: Folder of embeddings, for `probabilities` of one number for each class.
        splits: Splits that train.
        classes: Number of classes.
        alpha: Weight of what is added to the loss.

    Raises:
        InputError: If the network has no layer `fc1`, or probabilities are none.
    """
    vectors = np.stack([*read_embeddings(embeddings, splits).values()])
    if method == "probabilities":
        check_probabilities(vectors, classes, embeddings)
    return Taught(network, method, vectors, alpha=alpha)
