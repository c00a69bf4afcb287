import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from transformers.modeling_tf_utils import keras

from ser_nsl.upstream.dropout import seed_dropout


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = keras.layers.Dropout(0.25), keras.layers.Dropout(0.25)

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


def test_dropout_depends_only_on_the_seed(drop):
    first = drop(1, 2)

    assert np.unique(first) == pytest.approx([0, 4 / 3])
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(first, drop(1, 3))
    np.testing.assert_array_equal(first, drop(1, 2))


def test_layers_drop_independently(drop):
    one, two = drop(1, 2) == 0

    assert (one & two).mean() == pytest.approx(0.25**2, abs=0.02)


@pytest.mark.slow
def test_every_dropout_is_found_where_tensorflow_has_another_keras():
    """In a process that touched `tf.keras` first, transformers' layers are of another package."""
    script = """
import tensorflow as tf
tf.keras.layers.Dropout
from transformers import TFWav2Vec2ForSequenceClassification, Wav2Vec2Config
from transformers.modeling_tf_utils import keras
assert keras.layers.Dropout is not tf.keras.layers.Dropout
from ser_nsl.upstream.dropout import SeededDropout, seed_dropout
model = TFWav2Vec2ForSequenceClassification(
    Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
)
seed_dropout(model)
parts = [part for layer in model.submodules for part in vars(layer).values()]
assert any(isinstance(part, SeededDropout) for part in parts)
assert not any(isinstance(part, keras.layers.Dropout) for part in parts)
"""
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
