from dataclasses import replace

import pytest
import tensorflow as tf

from ser_nsl.evaluation.uar import UAR
from ser_nsl.networks import NETWORKS
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.training.data import LabelledClips, labelled_clips, training_clips
from ser_nsl.training.fit import fit
from ser_nsl.training.progress import Progress, dropout_generators
from ser_nsl.training.settings import TrainingConfig

CONFIG = TrainingConfig(epochs=5, batch_size=4, learning_rate=0.008, keep="last", seed=3)


@pytest.fixture
def flat(corpus) -> tf.keras.Model:
    """A network of one layer, which learns the clips by heart."""
    tf.keras.utils.set_random_seed(0)
    logmel, x = logmel_input(corpus.description)
    logits = tf.keras.layers.Dense(3, name="fc2")(tf.keras.layers.Flatten()(x))
    return tf.keras.Model(logmel, logits, name="flat")


def test_weights_of_the_best_epoch_are_put_back(corpus, flat, tmp_path):
    clips = training_clips(corpus.features, ("train",), corpus.description)
    scored = labelled_clips(corpus.features, ("train",), corpus.description)
    # The better a network knows these clips, the worse it does in a validation of wrong labels.
    wrong = scored.dataset.map(lambda inputs, label: (inputs, (label + 1) % 3))
    config = replace(CONFIG, epochs=25, learning_rate=0.001, keep="best")

    fitted = fit(
        flat, flat, clips, LabelledClips(wrong, scored.labels), corpus.description, config, tmp_path
    )

    uars = [epoch["val_uar"] for epoch in fitted.history]
    assert uars[-1] == 0 < max(uars)
    assert fitted.kept_epoch == uars.index(max(uars))
    metric = UAR(3)
    for inputs, label in wrong.batch(1):
        metric.update_state(label, flat(inputs["logmel"]))
    assert float(metric.result()) == pytest.approx(max(uars))


def test_learning_rate_decays_by_steps(corpus, flat, tmp_path):
    config = replace(CONFIG, decay=0.5, decay_epochs=2)
    clips = training_clips(corpus.features, ("train",), corpus.description)

    history, kept = fit(flat, flat, clips, None, corpus.description, config, tmp_path)

    rates = [epoch["learning_rate"] for epoch in history]
    assert rates == pytest.approx([0.008, 0.008, 0.004, 0.004, 0.002])
    assert float(flat.optimizer.learning_rate) == pytest.approx(0.002)  # 20 steps taken
    assert history[-1]["loss"] < history[0]["loss"]
    assert kept == 4


@pytest.mark.parametrize(("keep", "expected"), [("best", 2.0), ("last", 4.0)])
def test_first_of_the_best_epochs_is_kept(keep, expected, flat, tmp_path):
    flat.compile(tf.keras.optimizers.Adam())
    bias = flat.get_layer("fc2").bias
    progress = Progress(flat, flat, tmp_path, keep=keep)
    for epoch, uar in enumerate([0.0, 0.7, 0.7, 0.6], start=1):
        bias.assign([epoch] * 3)
        progress.save({"val_uar": uar})

    again = Progress(flat, flat, tmp_path, keep=keep)
    assert again.history == progress.history
    assert again.kept_epoch + 1 == expected
    again.restore_kept()

    assert bias.numpy().tolist() == [expected] * 3


def test_full_disk_leaves_the_epoch_before(flat, tmp_path, monkeypatch):
    flat.compile(tf.keras.optimizers.Adam())
    bias = flat.get_layer("fc2").bias
    bias.assign([1.0] * 3)
    progress = Progress(flat, flat, tmp_path, keep="last")
    progress.save({"loss": 1.0})
    bias.assign([2.0] * 3)

    def full(*given, **named):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.Checkpoint, "_write", full)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        progress.save({"loss": 2.0})
    monkeypatch.undo()

    assert Progress(flat, flat, tmp_path, keep="last").history == [{"loss": 1.0}]
    assert bias.numpy().tolist() == [1.0] * 3


def test_every_dropout_can_be_saved(corpus):
    networks = [NETWORKS[name](corpus.description) for name in ("cnn6", "resnet9", "mobilenet15")]

    generators = [dropout_generators(network) for network in networks]

    assert [len(each) for each in generators] == [0, 0, 1]
    assert all(isinstance(each, tf.random.Generator) for each in generators[2])
