import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import neural_structured_learning as nsl
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.training.graph_regularization import GraphRegularization, graph_config

CLIPS, NEIGHBORS = 8, 2
SHAPE = (4, 3)
SOURCES = ("packed", "batch", "bank")
LABELS = np.arange(CLIPS) % 3

# Numbers of clips need not begin at 0, nor rise.
ROWS = np.array([7, 2, 9, 0, 4, 11, 5, 3])
NEIGHBOR_ROWS = np.array([[2, 9], [7, 7], [9, 9], [4, 6], [0, 8], [2, 5], [2, 7], [3, 11]])
WEIGHTS = np.array(
    [[1, 0.9], [0.5, 0], [0, 0], [1, 1], [0.8, 0.7], [0.99, 0.98], [0.6, 0.3], [0, 0.4]], "float32"
)
"""Of each clip's neighbours; 0 where there is none. Clips 6 and 8 are never in the batch."""


@pytest.fixture(scope="module")
def logmel() -> np.ndarray:
    """The clips, and after them 12 others, by number."""
    return np.random.default_rng(0).normal(size=(CLIPS + 12, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def packed(logmel) -> dict[str, np.ndarray]:
    inputs = {"logmel": logmel[:CLIPS]}
    for i in range(NEIGHBORS):
        inputs[f"NL_nbr_{i}_logmel"] = logmel[CLIPS + NEIGHBOR_ROWS[:, i]]
        inputs[f"NL_nbr_{i}_weight"] = WEIGHTS[:, i : i + 1]
    return inputs


@pytest.fixture(scope="module")
def linked(logmel) -> dict[str, np.ndarray]:
    return {
        "logmel": logmel[:CLIPS],
        "NL_row": ROWS,
        "NL_nbr_rows": NEIGHBOR_ROWS.astype(np.int32),
        "NL_nbr_weights": WEIGHTS,
    }


def inputs_of(source: str, packed, linked) -> dict[str, np.ndarray]:
    return packed if source == "packed" else linked


def make_network(*, norm: Callable | None = None, dropout: float = 0.0) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    logmel = tf.keras.Input(SHAPE, name="logmel")
    x = tf.keras.layers.Flatten()(logmel)
    if norm:
        x = norm(name="norm")(x)
    x = tf.keras.layers.Dense(8, activation="relu", name="fc1")(x)
    x = tf.keras.layers.Dropout(dropout)(x)
    return tf.keras.Model(logmel, tf.keras.layers.Dense(3, name="fc2")(x), name="flat")


def make_sequential() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    return tf.keras.Sequential(
        [
            tf.keras.Input(SHAPE, name="logmel"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.Dense(8, activation="relu", name="fc1"),
            tf.keras.layers.Dense(3, name="fc2"),
        ]
    )


class Block(tf.keras.layers.Layer):
    """A layer that holds another one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = tf.keras.layers.Dense(8, activation="relu", name="fc1")

    def call(self, x):
        return self.fc1(x)


class Subclassed(tf.keras.Model):
    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.flatten = tf.keras.layers.Flatten()
        self.norm = tf.keras.layers.BatchNormalization()
        self.block = Block()
        self.fc2 = tf.keras.layers.Dense(3, name="fc2")
        self.idle = tf.keras.layers.Activation("linear", name="idle")

    def call(self, inputs, training=False):
        inputs = inputs["logmel"] if isinstance(inputs, dict) else inputs
        inputs = self.idle(inputs) if training else inputs
        return self.fc2(self.block(self.norm(self.flatten(inputs), training=training)))


def make_subclassed() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    network = Subclassed()
    network({"logmel": tf.zeros((1, *SHAPE))})  # makes its variables
    return network


def make_nested() -> tf.keras.Model:
    """`fc1` is in a model inside the model; `fc2` is outside and inside."""
    tf.keras.utils.set_random_seed(0)
    inner_input = tf.keras.Input((12,))
    fc1 = tf.keras.layers.Dense(8, activation="relu", name="fc1")(inner_input)
    inner = tf.keras.Model(inner_input, tf.keras.layers.Dense(5, name="fc2")(fc1), name="inner")
    logmel = tf.keras.Input(SHAPE, name="logmel")
    x = inner(tf.keras.layers.Flatten()(logmel))
    return tf.keras.Model(logmel, tf.keras.layers.Dense(3, name="fc2")(x))


def regularized(network: tf.keras.Model, *, alpha: float = 0.5, source: str = "packed", **settings):
    if source == "bank":
        settings.setdefault("clips", 12)
    config = graph_config(neighbors=NEIGHBORS, alpha=alpha)
    return GraphRegularization(network, config, neighbors=source, **settings)


def compiled(
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer | None = None,
    *,
    eagerly: bool = True,
):
    """Few steps of small networks take less time than making a graph."""
    model.compile(
        optimizer or tf.keras.optimizers.Adam(0.01),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=eagerly,
    )
    return model


def batches(inputs, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((inputs, LABELS)).batch(size)


def assert_same_weights(found: tf.keras.Model, expected: tf.keras.Model, atol: float) -> None:
    for variable, value in zip(expected.weights, found.get_weights(), strict=True):
        np.testing.assert_allclose(value, variable, rtol=0, atol=atol, err_msg=variable.name)


def embed(network: tf.keras.Model, logmel: np.ndarray, layer: str = "fc1") -> np.ndarray:
    """What a network of `make_network` without normalisation gives, in NumPy."""
    kernel, bias = network.get_layer("fc1").get_weights()
    fc1 = np.maximum(logmel.reshape(len(logmel), -1) @ kernel + bias, 0)
    if layer == "fc1":
        return fc1
    kernel, bias = network.get_layer("fc2").get_weights()
    return fc1 @ kernel + bias


def mean_distance(edges: list[tuple[np.ndarray, np.ndarray, float]]) -> float:
    """What arXiv 2210.14977 adds to the loss of a batch, before alpha."""
    distances = [
        weight * (1 - one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
        for one, other, weight in edges
        if weight > 0
    ]
    return float(np.mean(distances)) if distances else 0.0


def packed_loss(embeddings, others) -> float:
    """Others: of the neighbours, shape `(clips, neighbours, width)`."""
    return mean_distance(
        [
            (embeddings[clip], others[clip, i], WEIGHTS[clip, i])
            for clip in range(len(embeddings))
            for i in range(NEIGHBORS)
        ]
    )


def batch_edges(chosen=range(CLIPS)) -> list[tuple[int, int, float]]:
    """Edges between clips of a batch: places in `ROWS`, and weights."""
    place = {ROWS[clip]: clip for clip in chosen}
    return [
        (clip, place[other], weight)
        for clip in chosen
        for other, weight in zip(NEIGHBOR_ROWS[clip], WEIGHTS[clip], strict=True)
        if other in place
    ]


# The official class


DISTANCES = {
    "l1 summed": {"distance_type": "l1", "reduction": tf.compat.v1.losses.Reduction.SUM},
    "l2 over the first axis but one": {"distance_type": "l2", "sum_over_axis": 1},
    "kl": {"distance_type": "kl_divergence", "transform_fn": "softmax", "sum_over_axis": -1},
}


def assert_as_official(make, inputs, config, **settings) -> None:
    """One step of each class from the same weights."""
    ours, theirs = make(), make()
    models = (
        GraphRegularization(ours, config, **settings),
        nsl.keras.GraphRegularization(theirs, config),
    )
    (loss, graph_loss), expected = (
        compiled(model).train_on_batch(inputs, LABELS) for model in models
    )

    assert [loss, graph_loss] == pytest.approx(expected, abs=1e-6)
    assert graph_loss > 0.001
    # The official class moves the statistics of batch normalisation with those of neighbours.
    for found, other in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-6, err_msg=found.name)


def make_normalised() -> tf.keras.Model:
    return make_network(norm=tf.keras.layers.BatchNormalization)


@pytest.mark.parametrize("make", [make_normalised, make_sequential, make_subclassed])
def test_as_the_official_class(make, packed):
    assert_as_official(make, packed, graph_config(neighbors=NEIGHBORS, alpha=0.5))


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_those_of_the_official_class(distance, packed):
    config = nsl.configs.make_graph_reg_config(
        max_neighbors=NEIGHBORS, multiplier=0.3, **DISTANCES[distance]
    )
    assert_as_official(make_normalised, packed, config, layer="fc2")


class TwoFeatures(Subclassed):
    def call(self, inputs, training=False):
        return super().call(inputs["logmel"] * inputs["age"][..., tf.newaxis], training)


def test_structured_inputs_as_in_the_official_class(packed):
    ages = np.linspace(-1, 2, CLIPS, dtype=np.float32)[:, np.newaxis]
    inputs = packed | {"age": ages, "NL_nbr_0_age": ages[::-1], "NL_nbr_1_age": ages**2}

    def seeded() -> tf.keras.Model:
        tf.keras.utils.set_random_seed(1)
        network = TwoFeatures()
        network({"logmel": packed["logmel"], "age": ages})
        return network

    assert_as_official(seeded, inputs, graph_config(neighbors=NEIGHBORS, alpha=0.5))


def test_divergence_of_probabilities_as_in_the_official_class(packed):
    config = graph_config(neighbors=NEIGHBORS, alpha=0.5, distance="jensen_shannon")

    assert_as_official(make_normalised, packed, config)


def test_divergence_of_probabilities_is_that_of_scipy():
    ours, theirs = np.random.default_rng(0).normal(0, 3, (2, 5, 4)).astype(np.float32)
    config = graph_config(neighbors=1, alpha=1.0, distance="jensen_shannon")
    layer = nsl.keras.layers.PairwiseDistance(config.distance_config)

    found = layer(ours, theirs[:, np.newaxis], np.ones((5, 1, 1), np.float32))

    expected = jensenshannon(softmax(ours, axis=1), softmax(theirs, axis=1), axis=1) ** 2
    assert found.numpy() == pytest.approx(expected.mean(), abs=1e-5)


def test_history_and_metrics_have_the_official_names(packed):
    histories = []
    for make in (GraphRegularization, nsl.keras.GraphRegularization):
        model = make(make_network(), graph_config(neighbors=NEIGHBORS, alpha=0.5))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(True)
        model.compile("sgd", loss, ["accuracy"], run_eagerly=True)
        plain = batches({"logmel": packed["logmel"]}, 3)
        histories.append(model.fit(batches(packed, 4), validation_data=plain, verbose=0).history)

    assert histories[0].keys() == histories[1].keys()
    assert "scaled_graph_loss" in histories[0]
    for name, values in histories[1].items():
        assert histories[0][name] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("source", ["packed", "bank"])
def test_prediction_and_evaluation_are_those_of_the_base_model(source, packed, linked):
    network = make_normalised()
    model = compiled(regularized(network, source=source, layer="fc1"))
    model.fit(batches(inputs_of(source, packed, linked), 4), verbose=0)
    plain = batches({"logmel": packed["logmel"]}, 3)

    np.testing.assert_array_equal(
        model.predict(plain, verbose=0), network.predict(plain, verbose=0)
    )
    assert model.evaluate(plain, verbose=0) == network.evaluate(plain, verbose=0)


def test_the_first_validation_counts_its_own_clips_only(packed):
    model, uar = regularized(make_network()), UAR(3)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(True)
    model.compile("sgd", loss, [uar])
    plain = batches({"logmel": packed["logmel"]}, 3)

    model.fit(batches(packed, 4), validation_data=plain, verbose=0)

    assert tf.reduce_sum(uar.confusion) == CLIPS


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("make", "suffix"),
    # Not .keras, which hangs once transformers has been imported: ser_nsl/networks/saved.py.
    [(make_network, ".h5"), (make_subclassed, "")],
)
def test_saving_is_that_of_the_base_model(make, suffix, packed, tmp_path):
    network, path = make(), tmp_path / f"model{suffix}"
    model = compiled(regularized(network, layer="fc1"))
    model.train_on_batch(packed, LABELS)
    model.save(path)

    inputs = {"logmel": packed["logmel"]}
    again = tf.keras.models.load_model(path)
    np.testing.assert_allclose(again(inputs), network(inputs), atol=1e-6)


# Layers


FC1 = {
    make_network: embed,
    make_sequential: lambda network, x: tf.keras.Sequential(network.layers[:-1])(x),
    make_subclassed: lambda network, x: network.block.fc1(network.norm(network.flatten(x))),
    make_nested: lambda network, x: network.get_layer("inner").get_layer("fc1")(
        tf.reshape(x, (len(x), -1))
    ),
}
"""From networks to functions that compute `fc1` step by step; `fc2` is their output."""


@pytest.mark.parametrize(
    ("layer", "make"), [*(("fc1", make) for make in FC1), ("fc2", make_nested)]
)
def test_a_named_layer_in_models_of_any_kind(layer, make, packed, logmel):
    network = make()
    _, loss = compiled(regularized(network, layer=layer)).test_on_batch(packed, LABELS)

    compute = FC1[make] if layer == "fc1" else lambda network, x: network({"logmel": x})
    vectors = np.asarray(compute(network, logmel))
    others = vectors[CLIPS + NEIGHBOR_ROWS]
    assert loss == pytest.approx(0.5 * packed_loss(vectors[:CLIPS], others), abs=1e-6)
    assert loss > 0.01


def test_a_convolution_is_flattened(packed, logmel):
    inputs = tf.keras.Input(SHAPE, name="logmel")
    x = tf.keras.layers.Conv1D(4, 2, name="conv")(inputs)
    network = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(x[:, 0]))
    _, loss = compiled(regularized(network, layer="conv")).test_on_batch(packed, LABELS)

    vectors = network.get_layer("conv")(logmel).numpy().reshape(len(logmel), 3 * 4)
    others = vectors[CLIPS + NEIGHBOR_ROWS]
    assert loss == pytest.approx(0.5 * packed_loss(vectors[:CLIPS], others), abs=1e-6)


class Gate(tf.keras.layers.Layer):
    """Needs AutoGraph, as users' layers may."""

    def call(self, x):
        return 2 * x if tf.reduce_sum(x) > 0 else -x


def test_a_users_layer_in_graph_mode(packed):
    inputs = tf.keras.Input(SHAPE, name="logmel")
    x = tf.keras.layers.Flatten()(inputs)
    network = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(Gate(name="gate")(x)))
    losses = [
        compiled(regularized(network, layer="gate"), eagerly=eagerly).test_on_batch(packed, LABELS)
        for eagerly in (False, True)
    ]

    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_unknown_layers_are_refused():
    with pytest.raises(
        InputError, match="flat has no layer 'fc3'; it has logmel, flatten.*, fc1, dropout.*, fc2"
    ):
        regularized(make_network(), layer="fc3")
    with pytest.raises(InputError, match="it has .*inner, fc2, .*fc1"):
        regularized(make_nested(), layer="fc3")


def test_layers_that_cannot_be_compared_are_refused(packed):
    idle_in_evaluation = regularized(make_subclassed(), layer="idle")
    idle_in_evaluation(packed, training=True)
    with pytest.raises(InputError, match="the model does not call 'idle'"):
        idle_in_evaluation(packed)
    inputs = tf.keras.Input((None, 3), name="logmel")
    x = tf.keras.layers.Conv1D(4, 2, name="conv")(inputs)
    network = tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(x))
    model = compiled(regularized(network, layer="conv"))
    spec = {
        name: tf.TensorSpec((None, None, 3) if name.endswith("logmel") else (None, 1))
        for name in packed
    }
    with pytest.raises(InputError, match=r"outputs must be of one size; received \(None, 4\)"):
        tf.function(model.call, autograph=False).get_concrete_function(spec)


# Settings


def test_unknown_sources_are_refused():
    with pytest.raises(InputError, match="must be packed, batch or bank; received 'memory'"):
        regularized(make_network(), source="memory")


@pytest.mark.parametrize(("source", "clips"), [("bank", None), ("batch", 3)])
def test_only_a_bank_has_a_size(source, clips):
    with pytest.raises(InputError, match=f"clips: .* received {clips} with '{source}'"):
        regularized(make_network(), source=source, clips=clips)


def test_missing_rows_are_named(packed):
    model = regularized(make_network(), source="batch")

    with pytest.raises(InputError, match="batch and bank need NL_nbr_rows, NL_nbr_weights, NL_row"):
        model(packed)


def test_alpha_0_is_training_without_the_graph(packed, linked):
    def make() -> tf.keras.Model:
        return make_network(norm=tf.keras.layers.BatchNormalization, dropout=0.3)

    with_graph, without = make(), make()
    for network, model in (
        (with_graph, regularized(with_graph, alpha=0.0, layer="fc1", source="bank")),
        (without, without),
    ):
        kept = {"logmel": packed["logmel"]} if model is network else linked
        tf.keras.utils.set_random_seed(1)
        compiled(model).fit(batches(kept, 3), epochs=2, verbose=0)

    assert_same_weights(with_graph, without, atol=0)


def test_neighbours_do_not_move_the_statistics_of_normalisation(packed):
    """The clips' own statistics move as without neighbours, step by step, in graph mode."""
    network, plain = make_normalised(), make_normalised()
    for model, inputs in ((regularized(network), packed), (plain, {"logmel": packed["logmel"]})):
        model = compiled(model, tf.keras.optimizers.SGD(0.0), eagerly=False)
        model.fit(batches(inputs, 4), epochs=2, verbose=0)

    assert_same_weights(network, plain, atol=0)
    assert np.abs(network.get_layer("norm").moving_mean).mean() > 1e-3


# Losses and gradients by hand


def test_packed_losses_by_hand(packed, logmel):
    layer, size = "fc1", 3
    network = make_network()
    model = regularized(network, layer=layer)
    compiled(model, tf.keras.optimizers.SGD(0.0), eagerly=False)

    history = model.fit(batches(packed, size), verbose=0).history

    vectors = embed(network, logmel, layer)
    others = vectors[CLIPS + NEIGHBOR_ROWS]
    expected = [
        mean_distance(
            [
                (vectors[clip], others[clip, i], WEIGHTS[clip, i])
                for clip in range(start, min(start + size, CLIPS))
                for i in range(NEIGHBORS)
            ]
        )
        for start in range(0, CLIPS, size)
    ]
    assert not model.run_eagerly
    assert history["scaled_graph_loss"] == [pytest.approx(0.5 * np.mean(expected), abs=1e-6)]
    assert np.mean(expected) > 0.01


@pytest.mark.parametrize("chosen", [range(8), [3, 6, 1, 0], [2, 4]])
def test_only_edges_within_the_batch_count(chosen, linked, logmel):
    network, chosen = make_network(), list(chosen)
    inputs = {name: values[chosen] for name, values in linked.items()}

    _, loss = compiled(regularized(network, layer="fc1", source="batch")).test_on_batch(
        inputs, LABELS[chosen]
    )

    vectors = embed(network, logmel)
    edges = [(vectors[one], vectors[other], weight) for one, other, weight in batch_edges(chosen)]
    assert loss == pytest.approx(0.5 * mean_distance(edges), abs=1e-6)
    assert (loss == 0) == (chosen == [2, 4])


def test_a_clip_that_is_twice_in_a_batch_counts_once_as_a_neighbour(linked, logmel):
    network, chosen = make_network(), [0, 1, 1]
    inputs = {name: values[chosen] for name, values in linked.items()}

    _, loss = compiled(regularized(network, source="batch")).test_on_batch(inputs, LABELS[:3])

    vectors = embed(network, logmel, "fc2")
    edges = [(vectors[one], vectors[1 - one], WEIGHTS[one, 0]) for one in chosen]
    assert loss == pytest.approx(0.5 * mean_distance(edges), abs=1e-6)


def graph_gradients(model: tf.keras.Model, network: tf.keras.Model, inputs) -> list[np.ndarray]:
    """Of the graph's part alone: clips weigh nothing in the other part, and a step is of 1."""
    compiled(model, tf.keras.optimizers.SGD(1.0), eagerly=False)
    before = network.get_weights()
    model.train_on_batch(inputs, LABELS, sample_weight=np.zeros(CLIPS))
    return [old - new for old, new in zip(before, network.get_weights(), strict=True)]


@pytest.mark.parametrize("source", SOURCES)
def test_gradients(source, packed, linked, logmel):
    """Through both ends of an edge, but not through the bank."""
    network = make_network()
    model = regularized(network, source=source)
    if source == "bank":
        clips = {"logmel": logmel[:CLIPS], "NL_row": ROWS}
        model.remember(tf.data.Dataset.from_tensors(clips))
    edges = [
        (clip, CLIPS + NEIGHBOR_ROWS[clip, i], WEIGHTS[clip, i])
        for clip in range(CLIPS)
        for i in range(NEIGHBORS)
        if WEIGHTS[clip, i]
    ]
    with tf.GradientTape() as tape:
        vectors = tf.math.l2_normalize(network(logmel), axis=-1)
        ends = [
            (vectors[one], tf.stop_gradient(vectors[other]) if source == "bank" else vectors[other])
            for one, other, _ in (edges if source == "packed" else batch_edges())
        ]
        weights = [weight for *_, weight in (edges if source == "packed" else batch_edges())]
        distances = [
            weight * (1 - tf.reduce_sum(one * other))
            for (one, other), weight in zip(ends, weights, strict=True)
            if weight > 0
        ]
        loss = 0.5 * tf.reduce_mean(distances)
    expected = tape.gradient(loss, network.trainable_variables)

    found = graph_gradients(model, network, inputs_of(source, packed, linked))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(other).max() > 1e-3


# The bank


def test_a_bank_compares_with_the_last_outputs(linked, logmel):
    network = make_network()
    model = compiled(regularized(network, source="bank", layer="fc1"))
    remembered, losses, expected = {}, [], []
    # Three passes in batches that are not alike; clip 4 of number 4 is left out at first.
    for chosen in ([0, 1, 2], [3, 5], [6, 7, 1], [4, 0, 2], [7, 3, 6], [1, 5, 2, 0, 4], [6, 3]):
        vectors = embed(network, logmel)
        edges = [
            (vectors[clip], remembered[other], weight)
            for clip in chosen
            for other, weight in zip(NEIGHBOR_ROWS[clip], WEIGHTS[clip], strict=True)
            if other in remembered
        ]
        expected.append(0.5 * mean_distance(edges))
        remembered |= {ROWS[clip]: vectors[clip] for clip in chosen}
        inputs = {name: values[chosen] for name, values in linked.items()}
        losses.append(model.train_on_batch(inputs, LABELS[chosen])[1])

    assert losses == pytest.approx(expected, abs=1e-6)
    assert losses[0] == 0
    assert min(expected[2:]) > 1e-3
    assert [weight.shape for weight in model.non_trainable_weights] == [(12, 8)]


def test_a_clip_of_which_nothing_is_left_counts_as_seen(linked):
    """After a ReLU a clip may be all zeros: not the same as not to have been seen."""
    network = make_network()
    kernel, bias = network.get_layer("fc1").get_weights()
    network.get_layer("fc1").set_weights([0 * kernel, bias - 1])
    model = compiled(regularized(network, source="bank", layer="fc1"))

    losses = [model.test_on_batch(linked, LABELS)[1] for _ in range(2)]

    edges = [weight for _, _, weight in batch_edges() if weight > 0]
    assert losses == [0, pytest.approx(0.5 * np.mean(edges))]


def test_unlabelled_clips_can_be_remembered(linked, logmel):
    network = make_network()
    model = compiled(regularized(network, source="bank"))
    others = {"logmel": logmel[CLIPS:][[6, 8]], "NL_row": np.array([6, 8], np.int32)}
    model.remember(tf.data.Dataset.from_tensor_slices(others).batch(1))

    _, loss = model.train_on_batch(linked, LABELS)

    # Clip 6 is a neighbour of the fourth, clip 8 of the fifth; nobody else was seen.
    network = make_network()
    own, other = (embed(network, each, "fc2") for each in (logmel[[3, 4]], logmel[CLIPS:][[6, 8]]))
    edges = [(own[0], other[0], WEIGHTS[3, 1]), (own[1], other[1], WEIGHTS[4, 1])]
    assert loss == pytest.approx(0.5 * mean_distance(edges), abs=1e-6)
    assert loss > 0.01


@pytest.fixture
def bfloat16() -> Iterator[None]:
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("source", ["packed", "bank"])
def test_mixed_precision_rounds_in_the_base_model_only(source, packed, linked, logmel):
    network = make_network()
    model = compiled(regularized(network, source=source, layer="fc1"))
    assert network.get_layer("fc1").compute_dtype == "bfloat16"
    fc1 = tf.keras.Model(network.input, network.get_layer("fc1").output)(logmel)
    vectors = tf.cast(fc1, tf.float32).numpy()

    inputs = inputs_of(source, packed, linked)
    *_, (_, loss) = [model.test_on_batch(inputs, LABELS) for _ in range(2)]

    if source == "packed":
        expected = packed_loss(vectors[:CLIPS], vectors[CLIPS + NEIGHBOR_ROWS])
    else:
        expected = mean_distance(
            [(vectors[a], vectors[b], weight) for a, b, weight in batch_edges()]
        )
    assert loss == pytest.approx(0.5 * expected, abs=1e-6)
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    if source == "bank":
        (bank,) = model.non_trainable_weights
        np.testing.assert_array_equal(bank.numpy()[ROWS], vectors[:CLIPS])


@pytest.mark.parametrize("source", ["batch", "bank"])
def test_a_graph_without_neighbours_costs_nothing(source, linked):
    none = {"NL_nbr_rows": np.zeros((CLIPS, 0), int), "NL_nbr_weights": np.zeros((CLIPS, 0))}

    losses = compiled(regularized(make_network(), source=source)).test_on_batch(
        linked | none, LABELS
    )

    assert losses[1] == 0 < losses[0]


# Replicas


REPLICAS = """
import json
import neural_structured_learning as nsl
import numpy as np
import tensorflow as tf
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from ser_nsl.training.graph_regularization import GraphRegularization, graph_config

random = np.random.default_rng(0)
features = random.normal(size=(16, 5)).astype(np.float32)
neighbors = random.permuted(np.tile(np.arange(16), (16, 1)), axis=1)[:, :3]
weights = random.uniform(0.3, 1, (16, 3)).astype(np.float32)
weights[[4, 5, 6, 7, 9, 12, 13, 15]] = 0  # a half without an edge, and halves with few
labels = np.arange(16) % 3

def inputs_of(source, rows):
    if source != "packed":
        links = {"NL_nbr_rows": neighbors[rows], "NL_nbr_weights": weights[rows]}
        return {"x": features[rows], "NL_row": rows, **links}
    inputs = {"x": features[rows]}
    for i in range(3):
        inputs[f"NL_nbr_{i}_x"] = features[neighbors[rows, i]]
        inputs[f"NL_nbr_{i}_weight"] = weights[rows, i : i + 1]
    return inputs

def losses(strategy, source, reduction):
    with strategy.scope():
        tf.keras.utils.set_random_seed(0)
        x = tf.keras.Input((5,), name="x")
        hidden = tf.keras.layers.Dense(8, activation="tanh")(x)
        hidden = tf.keras.layers.Dense(4, name="fc1")(hidden)
        # Here one replica waits for the other, whose `fc1` it must not take for its own.
        hidden = tf.keras.layers.BatchNormalization(synchronized=True)(hidden)
        network = tf.keras.Model(x, tf.keras.layers.Dense(3)(hidden))
        model = GraphRegularization(
            network,
            nsl.configs.make_graph_reg_config(
                max_neighbors=3, multiplier=0.5, distance_type="cosine", sum_over_axis=-1,
                reduction=reduction,
            ),
            layer="fc1", neighbors=source, clips=16 if source == "bank" else None,
        )
        model.compile(
            tf.keras.optimizers.SGD(0.03), tf.keras.losses.SparseCategoricalCrossentropy(True),
            run_eagerly=strategy is not both,
        )
    if source == "bank":
        unseen = {"x": features[8:], "NL_row": np.arange(8, 16)}
        model.remember(tf.data.Dataset.from_tensors(unseen))
    return [
        np.asarray(model.train_on_batch(inputs_of(source, rows), labels[rows])).tolist()
        for rows in np.split(np.r_[:8, 8:16, :16:2, 1:16:2, 4:12], 5)
    ]

both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = {"replicas": both.num_replicas_in_sync}
mean, total = "weighted_sum_by_nonzero_weights", "weighted_sum"
for case in (("packed", mean), ("batch", mean), ("bank", total)):
    found[str(case)] = [losses(each, *case) for each in (tf.distribute.get_strategy(), both)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_replicas_give_the_losses_of_one_device():
    """In a process of its own, which has two devices."""
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout.splitlines()[-1])

    assert found.pop("replicas") == 2
    assert len(found) == 3
    for case, (one, two) in found.items():
        np.testing.assert_allclose(two, one, atol=1e-4, err_msg=case)
        assert min(graph_loss for _, graph_loss in one[1:]) > 0.01
