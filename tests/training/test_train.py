import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.config import TrainingConfig
from ser_nsl.downstream.blocks import logmel_input
from ser_nsl.downstream.saved import load_model
from ser_nsl.errors import InputError
from ser_nsl.training.data import Clips, labelled_clips
from ser_nsl.training.train import KeepWeights, fit, train_downstream
from ser_nsl.training.uar import UAR

SHORT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.01, keep="last", seed=3)


@pytest.fixture
def flat(corpus) -> tf.keras.Model:
    """A network of one layer, which learns the clips by heart."""
    tf.keras.utils.set_random_seed(0)
    logmel, x = logmel_input(corpus.description)
    logits = tf.keras.layers.Dense(3, name="fc2")(tf.keras.layers.Flatten()(x))
    return tf.keras.Model(logmel, logits, name="flat")


def train(corpus, out, *, method="base", training=SHORT, **arguments):
    """Trains a small network with what the method needs; returns counts, weights, history."""
    if method == "nsl":
        arguments.setdefault("training_records", corpus.training_records)
    arguments.setdefault("model", "cnn6")
    result = train_downstream(
        features=corpus.features, out=out, method=method, training=training, **arguments
    )
    model, description = load_model(out)
    assert description == corpus.description
    return result.counts, model, json.loads((out / "history.json").read_text())


def validate(corpus, model) -> float:
    """UAR on the validation split, clip by clip."""
    clips = labelled_clips(corpus.features, ("val",), corpus.description)
    metric = UAR(3)
    for inputs, label in clips.dataset.batch(1):
        metric.update_state(label, model(inputs["logmel"]))
    return float(metric.result())


# MobileNet-15 drops out, so that its seed counts too.
@pytest.mark.parametrize(("method", "name"), [("base", "mobilenet15"), ("nsl", "cnn6")])
def test_same_seed_same_model(method, name, corpus, tmp_path):
    counts, model, history = train(corpus, tmp_path / "once", method=method, model=name)
    _, again, history_again = train(corpus, tmp_path / "again", method=method, model=name)

    for weights, weights_again in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, weights_again)
    assert history == history_again
    assert counts == {
        "clips": 13,
        "epochs": 2,
        "kept_epoch": 2,
        "val_uar": f"{history[-1]['val_uar']:.1%}",
    }
    assert history[-1]["val_uar"] == pytest.approx(validate(corpus, model))
    graph_loss = {"graph_loss"} if method == "nsl" else set()
    for epoch in history:
        assert epoch.keys() == {"loss", "uar", "learning_rate", "val_loss", "val_uar"} | graph_loss
        assert epoch.get("graph_loss", 1) > 0


def test_both_forms_of_training_records_give_one_model(corpus, tmp_path):
    trained = [
        train(corpus, tmp_path / records.name, method="nsl", training_records=records)
        for records in (corpus.training_records, corpus.indexed_records)
    ]

    (counts, model, history), (other_counts, other, other_history) = trained
    for weights, other_weights in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, other_weights)
    assert history == other_history
    assert counts == other_counts


def test_another_seed_gives_another_model(corpus, tmp_path):
    training = replace(SHORT, epochs=1, learning_rate=1e-9)  # what it starts from, so to say
    _, one, _ = train(corpus, tmp_path / "one", training=training)
    _, other, _ = train(corpus, tmp_path / "other", training=replace(training, seed=4))

    kernel, other_kernel = (each.get_layer("fc2").get_weights()[0] for each in (one, other))
    assert not np.allclose(kernel, other_kernel, atol=0.01)


def test_best_epoch_is_kept(corpus, tmp_path):
    training = replace(SHORT, epochs=8, learning_rate=0.001, keep="best")

    counts, model, history = train(corpus, tmp_path / "model", training=training)

    uars = [epoch["val_uar"] for epoch in history]
    assert len(set(uars)) > 1
    assert counts["kept_epoch"] == 1 + uars.index(max(uars))
    assert validate(corpus, model) == pytest.approx(max(uars))


def test_weights_of_the_best_epoch_are_put_back(corpus, flat):
    clips = labelled_clips(corpus.features, ("train",), corpus.description)
    # The better a network knows these clips, the worse it does in a validation of wrong labels.
    wrong = clips.dataset.map(lambda inputs, label: (inputs, (label + 1) % 3))
    training = replace(SHORT, epochs=25, learning_rate=0.001, keep="best")

    history = fit(flat, flat, clips, Clips(wrong, clips.labels), 3, training)

    uars = [epoch["val_uar"] for epoch in history]
    assert uars[-1] == 0 < max(uars)
    metric = UAR(3)
    for inputs, label in wrong.batch(1):
        metric.update_state(label, flat(inputs["logmel"]))
    assert float(metric.result()) == pytest.approx(max(uars))


def test_learning_rate_decays_by_steps(corpus, flat):
    training = replace(SHORT, epochs=5, learning_rate=0.008, decay=0.5, decay_epochs=2)
    clips = labelled_clips(corpus.features, ("train",), corpus.description)

    history = fit(flat, flat, clips, None, 3, training)

    rates = [epoch["learning_rate"] for epoch in history]
    assert rates == pytest.approx([0.008, 0.008, 0.004, 0.004, 0.002])
    assert history[-1]["loss"] < history[0]["loss"]


def test_embeddings_are_trained_with(corpus, write_embeddings, tmp_path):
    write_embeddings(corpus.labels["val"], split="val")
    embeddings = write_embeddings(corpus.labels["train"])

    counts, model, _ = train(
        corpus,
        tmp_path / "model",
        method="max",
        training=replace(SHORT, epochs=1),
        embeddings=embeddings,
    )

    assert counts["clips"] == 13
    assert model.input_names == ["logmel", "embedding"]


def test_trains_on_both_splits_without_validation(corpus, tmp_path):
    counts, _, history = train(
        corpus, tmp_path / "model", training=replace(SHORT, epochs=1), splits=("train", "val")
    )

    assert counts == {"clips": 13 + 7, "epochs": 1, "kept_epoch": 1}
    assert history[0].keys() == {"loss", "uar", "learning_rate"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "nsl"}, "training_records: the method 'nsl', and no other, needs them"),
        ({"method": "add"}, "embeddings: the methods add, max and avg, and no other, need them"),
        ({"training_records": "training_records"}, "training_records: the method 'nsl'"),
        ({"embeddings": "features"}, "embeddings: the methods add, max and avg"),
        (
            {"splits": ("train", "val"), "training": replace(SHORT, keep="best")},
            r"training\.keep: 'best' needs a validation split",
        ),
        (
            {
                "method": "nsl",
                "training_records": "training_records",
                "training": replace(SHORT, layer="fc3"),
            },
            "cnn6 has no layer 'fc3'",
        ),
        ({"model": "vgg15"}, "clips of 20 frames and 16 bands are too small for vgg15"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, corpus, tmp_path):
    paths = ("training_records", "embeddings")
    arguments = {
        key: getattr(corpus, value) if key in paths else value for key, value in arguments.items()
    }
    with pytest.raises(InputError, match=message):
        train_downstream(
            **{
                "features": corpus.features,
                "out": tmp_path / "model",
                "model": "cnn6",
                "method": "base",
                "training": SHORT,
            }
            | arguments
        )
    assert not (tmp_path / "model").exists()


def test_runaway_loss_leaves_the_earlier_model(corpus, tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "stage.json").write_text("{}")
    (out / "model.h5").write_bytes(b"earlier")

    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch 1; lower"):
        train(corpus, out, training=replace(SHORT, learning_rate=1e30))

    assert (out / "model.h5").read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(("keep", "expected"), [("best", 2.0), ("last", 4.0)])
def test_first_of_the_best_epochs_is_kept(keep, expected, flat):
    bias = flat.get_layer("fc2").bias
    keeper = KeepWeights(flat, replace(SHORT, keep=keep))
    for epoch, uar in enumerate([0.0, 0.7, 0.7, 0.6], start=1):
        bias.assign([epoch] * 3)
        keeper.on_epoch_end(epoch, {"loss": 1.0, "val_uar": uar})

    keeper.restore()

    assert bias.numpy().tolist() == [expected] * 3
