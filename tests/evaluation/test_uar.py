import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score

from ser_nsl.evaluation.uar import UAR


@pytest.fixture(scope="module")
def logits_model() -> tf.keras.Model:
    """A model that gives back what it gets."""
    model = tf.keras.Sequential([tf.keras.layers.Activation("linear", input_shape=(5,))])
    model.compile(
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[UAR(5)]
    )
    return model


def test_known_answer():
    metric = UAR(3)
    metric.update_state([0, 0, 0, 0, 1], tf.one_hot([0, 0, 0, 1, 1], 3))

    # Recalls 3/4 and 1; the third class has no clip.
    assert float(metric.result()) == pytest.approx((0.75 + 1) / 2)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize(
    ("present", "batch_size"), [((0, 1, 2, 3, 4), 1), ((0, 1, 2, 3, 4), 8), ((0, 2, 3), 40)]
)
def test_equals_scikit_learn_in_evaluate(present, batch_size, logits_model):
    random = np.random.default_rng(0)
    # In order of the classes, so that no batch looks like the whole; 37 is no multiple of 8.
    labels = np.sort(random.choice(present, 37))
    logits = random.normal(size=(37, 5)) + 1.5 * np.eye(5)[labels]
    clips = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(batch_size)

    _, uar = logits_model.evaluate(clips, verbose=0)

    assert not logits_model.run_eagerly
    assert uar == pytest.approx(balanced_accuracy_score(labels, logits.argmax(axis=1)), abs=1e-6)
    assert 0.3 < uar < 0.95


def test_each_evaluation_starts_from_zero(logits_model):
    right = tf.data.Dataset.from_tensors((tf.eye(5), tf.range(5)))
    wrong = tf.data.Dataset.from_tensors((tf.eye(5), tf.range(5)[::-1]))

    assert logits_model.evaluate(wrong, verbose=0)[1] == pytest.approx(0.2)
    assert logits_model.evaluate(right, verbose=0)[1] == 1


def test_reset_forgets():
    metric = UAR(2)
    assert float(metric.result()) == 0
    metric.update_state([0, 1], tf.one_hot([0, 1], 2))
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state([[0], [1]], tf.one_hot([0, 0], 2))
    assert float(metric.result()) == 0.5


def test_weights_count_clips():
    metric = UAR(2)
    weights = np.array([3.0, 1.0, 0.0, 0.5])
    metric.update_state([0, 0, 1, 1], tf.one_hot([0, 1, 0, 1], 2), sample_weight=weights)

    # Weights of 3 and 1 count the same; the clip of weight 0, which is wrong, does not count.
    assert float(metric.result()) == (0.5 + 1) / 2


def test_is_made_again_from_its_settings():
    again = UAR.from_config(UAR(4, name="recall").get_config())

    assert (again.name, again.classes) == ("recall", 4)
