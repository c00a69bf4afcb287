import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.edge import Recognizer
from ser_nsl.export.parity import compare


@pytest.fixture
def batches(description) -> list[np.ndarray]:
    clips = np.random.default_rng(0).normal(0, 0.1, (5, description.clip_samples))
    return np.split(clips.astype("float32"), [3])


def test_same_model(recogniser, model, description, batches):
    parity = compare(Recognizer(recogniser), model, description, batches)

    assert parity.clips == 5
    assert 0 <= parity.mean <= parity.largest < 1e-5
    assert parity.agreement == 1


def test_another_model_differs(recogniser, other_model, description, batches):
    recognizer = Recognizer(recogniser)
    parity = compare(recognizer, other_model, description, batches)
    ours = list(recognizer.predict(batches[0][0], 16_000).values())
    single = compare(recognizer, other_model, description, [batches[0][:1]])

    assert parity.largest > 1e-2
    assert parity.mean < parity.largest
    assert single.largest <= max(*ours, 1 - min(ours))


def test_labels_that_disagree_are_counted(recogniser, model, description, batches):
    opposite = tf.keras.Model(model.input, tf.keras.layers.Rescaling(-1.0)(model.output))

    assert compare(Recognizer(recogniser), opposite, description, batches).agreement == 0


def test_nan_stays_nan(recogniser, model, description, batches):
    broken = tf.keras.Model(model.input, tf.keras.layers.Rescaling(np.nan)(model.output))

    assert np.isnan(compare(Recognizer(recogniser), broken, description, batches).largest)
