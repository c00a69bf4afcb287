import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.upstream.dropout import seed_dropout


class Pair(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = tf.keras.layers.Dropout(0.25), tf.keras.layers.Dropout(0.25)

    def call(self, inputs, training=False):
        return tf.stack([self.one(inputs, training=training), self.two(inputs, training=training)])


@pytest.fixture
def drop():
    model = Pair()
    seed = seed_dropout(model)
    step = tf.function(lambda: model(tf.ones([100, 100]), training=True), autograph=False)

    def drop(*value):
        seed.assign(value)
        return step().numpy()

    assert model.variables == []
    np.testing.assert_array_equal(model(tf.ones([2, 2])), np.ones([2, 2, 2]))
    return drop


def test_numbers_follow_from_the_seed_alone(drop):
    first = drop(1, 2)

    assert np.unique(first) == pytest.approx([0, 4 / 3])
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(first, drop(1, 3))
    np.testing.assert_array_equal(first, drop(1, 2))


def test_layers_drop_independently(drop):
    one, two = drop(1, 2) == 0

    assert (one & two).mean() == pytest.approx(0.25**2, abs=0.02)
