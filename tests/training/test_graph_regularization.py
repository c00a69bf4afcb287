from collections.abc import Iterator

import neural_structured_learning as nsl
import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.errors import InputError
from ser_nsl.training.graph_regularization import GraphRegularization, graph_config

CLIPS, NEIGHBORS = 7, 2
WEIGHTS = np.array([[1, 0.9], [0.5, 0], [0, 0], [1, 1], [0.8, 0], [0.99, 0.98], [0, 0]], "float32")
"""Of each clip's neighbours; 0 where there is none."""


def make_network(*, batch_norm: bool = False) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    logmel = tf.keras.Input((4, 3), name="logmel")
    x = tf.keras.layers.Flatten()(logmel)
    if batch_norm:
        x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.Dense(8, activation="relu", name="fc1")(x)
    return tf.keras.Model(logmel, tf.keras.layers.Dense(3, name="fc2")(x), name="flat")


def regularized(network: tf.keras.Model, *, alpha: float = 0.5, layer: str = "fc2"):
    return GraphRegularization(network, graph_config(neighbors=NEIGHBORS, alpha=alpha), layer=layer)


def compiled(model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer | None = None):
    model.compile(
        optimizer or tf.keras.optimizers.Adam(0.01),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    inputs = {"logmel": random.normal(size=(CLIPS, 4, 3)).astype(np.float32)}
    for i in range(NEIGHBORS):
        weight = WEIGHTS[:, i : i + 1]
        neighbor = random.normal(size=(CLIPS, 4, 3)).astype(np.float32)
        inputs[f"NL_nbr_{i}_logmel"] = np.where(weight[..., None] > 0, neighbor, 0)
        inputs[f"NL_nbr_{i}_weight"] = weight
    return inputs


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.arange(CLIPS) % 3


def batches(inputs, labels, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(size)


def assert_same_weights(found: tf.keras.Model, expected: tf.keras.Model, atol: float) -> None:
    for variable, value in zip(expected.weights, found.get_weights(), strict=True):
        np.testing.assert_allclose(value, variable, rtol=0, atol=atol, err_msg=variable.name)


def graph_losses(network, layer, inputs, size) -> Iterator[float]:
    """What arXiv 2210.14977 adds to the loss of each batch, before alpha, in NumPy."""
    kernel, bias = network.get_layer("fc1").get_weights()
    kernel2, bias2 = network.get_layer("fc2").get_weights()

    def embed(logmel):
        fc1 = np.maximum(logmel.reshape(len(logmel), -1) @ kernel + bias, 0)
        return fc1 if layer == "fc1" else fc1 @ kernel2 + bias2

    for start in range(0, CLIPS, size):
        batch = {name: values[start : start + size] for name, values in inputs.items()}
        total, pairs = 0.0, 0
        for i in range(NEIGHBORS):
            for clip, neighbor, weight in zip(
                embed(batch["logmel"]),
                embed(batch[f"NL_nbr_{i}_logmel"]),
                batch[f"NL_nbr_{i}_weight"][:, 0],
                strict=True,
            ):
                if weight > 0:
                    norms = np.linalg.norm(clip) * np.linalg.norm(neighbor)
                    total += weight * (1 - clip @ neighbor / norms)
                    pairs += 1
        yield total / max(pairs, 1)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_for_the_last_layer_as_the_official_class(alpha, batch_norm, inputs, labels):
    ours, theirs = make_network(batch_norm=batch_norm), make_network(batch_norm=batch_norm)
    config = graph_config(neighbors=NEIGHBORS, alpha=alpha)
    our_loss, our_graph_loss = compiled(regularized(ours, alpha=alpha)).train_on_batch(
        inputs, labels
    )
    their_loss, their_graph_loss = compiled(
        nsl.keras.GraphRegularization(theirs, config)
    ).train_on_batch(inputs, labels)

    assert our_loss == pytest.approx(their_loss, abs=1e-6)
    assert our_graph_loss == pytest.approx(their_graph_loss, abs=1e-6)
    assert (our_graph_loss > 0) == (alpha > 0)
    assert_same_weights(ours, theirs, atol=1e-6)
    assert not np.allclose(ours.get_layer("fc1").kernel, make_network().get_layer("fc1").kernel)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("layer", ["fc1", "fc2"])
def test_alpha_0_is_training_without_the_graph(layer, batch_norm, inputs, labels):
    with_graph, without = make_network(batch_norm=batch_norm), make_network(batch_norm=batch_norm)

    for model in (regularized(with_graph, alpha=0.0, layer=layer), without):
        kept = inputs if model is not without else {"logmel": inputs["logmel"]}
        compiled(model).fit(batches(kept, labels, 3), epochs=3, verbose=0)

    assert_same_weights(with_graph, without, atol=1e-6)


@pytest.mark.parametrize("layer", ["fc1", "fc2"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_losses_by_hand_in_graph_mode(layer, size, inputs, labels):
    network = make_network()
    model = compiled(regularized(network, alpha=0.25, layer=layer), tf.keras.optimizers.SGD(0.0))

    history = model.fit(batches(inputs, labels, size), verbose=0).history

    expected = [0.25 * loss for loss in graph_losses(network, layer, inputs, size)]
    assert not model.run_eagerly
    assert history["graph_loss"] == [pytest.approx(np.mean(expected), abs=1e-6)]
    assert np.mean(expected) > 0.01


def test_total_loss_is_cross_entropy_and_the_graphs_part(inputs, labels):
    network = make_network()
    log_probabilities = tf.nn.log_softmax(network(inputs["logmel"])).numpy()
    cross_entropy = -log_probabilities[np.arange(CLIPS), labels].mean()
    (graph_loss,) = graph_losses(network, "fc1", inputs, CLIPS)

    loss, _ = compiled(regularized(network, alpha=0.25, layer="fc1")).test_on_batch(inputs, labels)

    assert loss == pytest.approx(cross_entropy + 0.25 * graph_loss, abs=1e-6)


def test_training_makes_neighbours_alike(inputs, labels):
    network = make_network()
    model = compiled(regularized(network, alpha=1.0, layer="fc1"))

    graph_loss = model.fit(batches(inputs, labels, 3), epochs=30, verbose=0).history["graph_loss"]

    assert graph_loss[-1] < 0.5 * graph_loss[0]


def test_prediction_and_validation_need_no_neighbours(inputs, labels):
    network = make_network()
    model = compiled(regularized(network))
    plain = batches({"logmel": inputs["logmel"]}, labels, 3)

    history = model.fit(
        batches(inputs, labels, 3), validation_data=plain, epochs=1, verbose=0
    ).history

    np.testing.assert_array_equal(
        model.predict(plain, verbose=0), network.predict(plain, verbose=0)
    )
    assert history["val_loss"] == [pytest.approx(network.evaluate(plain, verbose=0), abs=1e-6)]


def test_unknown_layer_is_refused():
    with pytest.raises(
        InputError, match="flat has no layer 'fc3'; it has logmel, flatten.*, fc1, fc2"
    ):
        regularized(make_network(), layer="fc3")
