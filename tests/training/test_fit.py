from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.networks import NETWORKS
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.training.data import training_clips
from ser_nsl.training.fit import dropout_generators, fit
from ser_nsl.training.graph_regularization import regularized
from ser_nsl.training.settings import TrainingConfig

CONFIG = TrainingConfig(epochs=5, batch_size=4, learning_rate=0.008, keep="last", seed=3)


@pytest.fixture
def flat(corpus) -> tf.keras.Model:
    """A network of one layer, which learns the clips by heart."""
    tf.keras.utils.set_random_seed(0)
    logmel, x = logmel_input(corpus.description)
    logits = tf.keras.layers.Dense(3, name="fc2")(tf.keras.layers.Flatten()(x))
    return tf.keras.Model(logmel, logits, name="flat")


def test_learning_rate_decays_by_steps(corpus, flat, tmp_path):
    config = replace(CONFIG, decay=0.5, decay_epochs=2)
    clips = training_clips(corpus.features, ("train",), corpus.description)

    fitted = fit(flat, flat, clips, None, corpus.description, config, tmp_path)

    rates = [epoch["learning_rate"] for epoch in fitted.history]
    assert rates == pytest.approx([0.008, 0.008, 0.004, 0.004, 0.002])
    assert float(flat.optimizer.learning_rate) == pytest.approx(0.002)  # 20 steps taken
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert fitted.kept_epoch == 4


def test_bank_holds_unlabelled_clips_too(corpus, flat, tmp_path):
    config = replace(CONFIG, epochs=1, neighbors="bank")
    clips = training_clips(
        corpus.indexed_records, ("train",), corpus.description, neighbors=2, source="bank"
    )
    trained = regularized(flat, clips, config)

    fit(trained, flat, clips, None, corpus.description, config, tmp_path)

    (bank,) = (weight for weight in trained.weights if weight.shape == (15, 3))
    assert np.isfinite(bank).all()


def test_every_dropout_can_be_saved(corpus):
    networks = [NETWORKS[name](corpus.description) for name in ("cnn6", "resnet9", "mobilenet15")]

    generators = [dropout_generators(network) for network in networks]

    assert [len(each) for each in generators] == [0, 0, 1]
    assert all(isinstance(each, tf.random.Generator) for each in generators[2])
