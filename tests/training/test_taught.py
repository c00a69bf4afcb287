import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.taught import Taught, taught


@pytest.fixture
def network() -> tf.keras.Model:
    """Its fc1 is its input, and its logits twice the first two numbers of that."""
    logmel = tf.keras.Input((3,), name="logmel")
    fc1 = tf.keras.layers.Dense(3, use_bias=False, name="fc1")(logmel)
    fc2 = tf.keras.layers.Dense(2, use_bias=False, name="fc2")(fc1)
    network = tf.keras.Model(logmel, fc2, name="linear")
    network.set_weights([np.eye(3), 2 * np.eye(3)[:, :2]])
    return network


@pytest.fixture
def logmel() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def added_loss(model: Taught, logmel: np.ndarray, vectors: np.ndarray) -> float:
    logits = model({"logmel": logmel, "embedding": vectors}, training=True)
    np.testing.assert_allclose(logits, 2 * logmel[:, :2], rtol=1e-5)
    (loss,) = model.losses
    return float(loss)


def test_embeddings_are_predicted_in_units_of_their_deviation(network, logmel):
    vectors = np.random.default_rng(1).normal(3, 7, size=(5, 4)).astype(np.float32)
    model = Taught(network, "embedding", vectors, alpha=0.5)
    kernel, bias = np.full((3, 4), 0.1, np.float32), np.arange(4, dtype=np.float32)
    model._head.set_weights([kernel, bias])

    expected = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    squares = (logmel @ kernel + bias - expected) ** 2
    assert added_loss(model, logmel, vectors) == pytest.approx(0.5 * squares.mean(), rel=1e-4)


def test_similarities_are_compared_clip_by_clip(network, logmel):
    vectors = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    model = Taught(network, "similarity", vectors, alpha=2.0)

    def shares(values: np.ndarray) -> np.ndarray:
        values = values - values.mean(axis=0)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        powers = np.exp(values @ values.T / 0.1)
        np.fill_diagonal(powers, 0)
        return powers / powers.sum(axis=1, keepdims=True)

    wanted, given = shares((vectors - vectors.mean(axis=0)) / vectors.std(axis=0)), shares(logmel)
    others = ~np.eye(5, dtype=bool)
    divergence = (wanted[others] * np.log(wanted[others] / given[others])).sum() / 5
    assert added_loss(model, logmel, vectors) == pytest.approx(2 * divergence, rel=1e-3)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_equal_similarities_add_nothing(network, logmel, scale):
    model = Taught(network, "similarity", scale * logmel, alpha=1.0)
    model._deviation[:] = scale  # as they are, but for the scale

    assert added_loss(model, logmel, scale * logmel) == pytest.approx(0, abs=1e-4)


def test_probabilities_are_those_of_soft_labels(network, logmel):
    vectors = np.array([[0.2, 0.8]] * 5, np.float32)
    model = Taught(network, "probabilities", vectors, alpha=1.0)

    logits = 2 * logmel[:, :2]
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(0.2 * logs[:, 0] + 0.8 * logs[:, 1]).mean()
    assert added_loss(model, logmel, vectors) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("method", ["embedding", "similarity", "probabilities"])
def test_gradients_are_finite_and_reach_fc1(network, logmel, method):
    vectors = np.full((5, 2), 0.5, np.float32)  # clips that are all alike
    vectors[:3, 0], vectors[:3, 1] = 0.1, 0.9
    model = Taught(network, method, vectors, alpha=1.0)

    with tf.GradientTape() as tape:
        loss = added_loss_tensor(model, logmel, vectors)
    gradient = tape.gradient(loss, network.get_layer("fc1").kernel)

    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def added_loss_tensor(model: Taught, logmel: np.ndarray, vectors: np.ndarray) -> tf.Tensor:
    model({"logmel": logmel, "embedding": vectors}, training=True)
    return model.losses[0]


def test_without_vectors_it_is_the_network(network, logmel):
    model = Taught(network, "similarity", np.eye(4), alpha=1.0)

    np.testing.assert_array_equal(model({"logmel": logmel}), network(logmel))
    assert not model.losses


def test_what_is_no_probability_is_refused(network, write_embeddings, tmp_path):
    folder = write_embeddings(["a", "b"], width=2)
    settings = {"splits": ("train",), "alpha": 1.0}
    with pytest.raises(InputError, match="must be 0 or more and sum to 1; received a sum of"):
        taught(network, "probabilities", folder, classes=2, **settings)
    with pytest.raises(InputError, match="one probability for each of 3 emotions; received 2"):
        taught(network, "probabilities", folder, classes=3, **settings)
