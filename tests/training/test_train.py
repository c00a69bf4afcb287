import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.examples import feature_example
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.evaluation.uar import UAR
from ser_nsl.graph.pack import pack_neighbors
from ser_nsl.networks import NETWORKS
from ser_nsl.networks.blocks import EMBEDDING_WIDTH, conv_norm_relu, logmel_input
from ser_nsl.networks.saved import load_model
from ser_nsl.training import fit as fit_module
from ser_nsl.training.data import labelled_clips
from ser_nsl.training.settings import AugmentationConfig, TrainingConfig
from ser_nsl.training.train import train_downstream
from ser_nsl.training.watch import ProgressBar

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

SHORT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.002, keep="last", seed=3)
ONCE = replace(SHORT, epochs=1)
STEPS = 4  # of an epoch of 13 clips
EVERYTHING = replace(
    SHORT,
    keep="best",
    schedule='{"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.01, '
    '"decay_steps": 12}}',
    class_weights="balanced",
    augmentation=AugmentationConfig(3, 1, 4, 1, 3),
    precision="mixed_bfloat16",
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch) -> None:
    """A network with all that training changes: weights, moving statistics, dropout."""

    def build(description):
        logmel, x = logmel_input(description)
        x = conv_norm_relu(x, 8, 3, strides=2)
        x = tf.keras.layers.Dropout(0.3, rng_type="stateful")(tf.keras.layers.Flatten()(x))
        x = tf.keras.layers.Dense(EMBEDDING_WIDTH, activation="relu", name="fc1")(x)
        logits = tf.keras.layers.Dense(3, dtype="float32", name="fc2")(x)
        return tf.keras.Model(logmel, logits, name="tiny")

    monkeypatch.setitem(NETWORKS, "tiny", build)


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """A few steps of a small network take less time than to trace it."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def untrained(monkeypatch) -> list[tf.keras.Model]:
    """Trainings end where they would fit, as by Ctrl-C, and leave their networks here."""
    networks: list[tf.keras.Model] = []

    def stop(trained, network, *given, **settings):
        networks.append(network)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "fit", stop)
    return networks


def arguments_for(corpus, *, method="base", training=SHORT, **others):
    """Arguments of a training of the small network with what the method needs."""
    if method == "nsl":
        others.setdefault("training_records", corpus.training_records)
    return {
        "features": corpus.features,
        "model": "tiny",
        "method": method,
        "training": training,
        "max_neighbors": 2,
    } | others


def train(corpus, out, **arguments):
    """Trains; returns counts, model, history."""
    result = train_downstream(**arguments_for(corpus, **arguments), out=out)
    model, description = load_model(out)
    assert description == corpus.description
    return result.counts, model, json.loads((out / "history.json").read_text())


def assert_same_weights(model, other):
    for weights, others in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, others)


def assert_same_run(folder, other):
    assert (folder / "history.json").read_text() == (other / "history.json").read_text()
    assert_same_weights(load_model(folder)[0], load_model(other)[0])
    for name in ("model.h5", "last.weights.h5", "history.json", "description.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def validation_loss(corpus, model) -> float:
    clips = labelled_clips(corpus.features, ("val",), corpus.description)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ((inputs, labels),) = clips.dataset.batch(100)
    return float(loss(labels, model(inputs["logmel"])))


def validate(corpus, model) -> float:
    """UAR on the validation split, clip by clip."""
    clips = labelled_clips(corpus.features, ("val",), corpus.description)
    metric = UAR(3)
    for inputs, label in clips.dataset.batch(1):
        metric.update_state(label, model(inputs["logmel"]))
    return float(metric.result())


@pytest.fixture
def stop_after(monkeypatch):
    """Returns a function that stops the training in a step, as Ctrl-C does."""

    def stop(steps: int) -> None:
        taken, real = [], ProgressBar.on_train_batch_end

        def count(self, batch, logs):
            taken.append(batch)
            if len(taken) == steps:
                raise KeyboardInterrupt
            real(self, batch, logs)

        monkeypatch.setattr(ProgressBar, "on_train_batch_end", count)

    return stop


@pytest.mark.parametrize(
    ("records", "training"),
    [(None, EVERYTHING), ("indexed_records", replace(SHORT, neighbors="bank", keep="best"))],
    ids=["everything", "bank"],
)
def test_stopped_training_ends_as_one_that_was_not(
    records, training, corpus, stop_after, tmp_path, capsys
):
    method = "nsl" if records else "base"
    given = {"method": method, "training": training}
    if records:
        given["training_records"] = getattr(corpus, records)
    counts, model, history = train(corpus, tmp_path / "whole", **given)
    stop_after(STEPS + 2)
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path / "stopped", **given)
    assert not (tmp_path / "stopped").exists()

    resumed, _, _ = train(corpus, tmp_path / "stopped", **given)

    assert "goes on after epoch 1 of a training that was stopped" in capsys.readouterr().out
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    linked = {"neighbors": "2.0", "without_neighbors": 0} if method == "nsl" else {}
    kept = counts["kept_epoch"]
    assert (
        counts
        == resumed
        == linked
        | {
            "clips": 13,
            "epochs": 2,
            "kept_epoch": kept,
            "val_uar": f"{history[kept - 1]['val_uar']:.1%}",
        }
    )
    assert history[kept - 1]["val_uar"] == pytest.approx(validate(corpus, model))
    keys = {"loss", "uar", "learning_rate", "val_loss", "val_uar"}
    for epoch in history:
        assert epoch.keys() == keys | ({"scaled_graph_loss"} if method == "nsl" else set())
    assert method == "base" or history[-1]["scaled_graph_loss"] > 0
    assert {path.name for path in (tmp_path / "stopped").iterdir()} == {
        *("model.h5", "last.weights.h5", "description.json", "history.json", "logs", "stage.json")
    }


def test_head_learns_alone_before_all_layers_do(corpus, stop_after, tmp_path, capsys):
    train(corpus, tmp_path / "start", training=replace(SHORT, epochs=1))
    slow = replace(SHORT, epochs=3, head_epochs=2, decay=0.5, decay_epochs=1)
    given = {"start": tmp_path / "start", "training": slow}
    _, _, history = train(corpus, tmp_path / "whole", **given)
    assert "head_epochs" not in capsys.readouterr().out
    train(corpus, tmp_path / "head", **given | {"training": replace(slow, epochs=2)})
    assert "head_epochs: fc1 and fc2 learn alone in all 2 epochs" in capsys.readouterr().out
    stop_after(2 * STEPS + 2)
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path / "stopped", **given)
    train(corpus, tmp_path / "stopped", **given)

    start, head, whole = (load_model(tmp_path / name)[0] for name in ("start", "head", "whole"))
    for own, before, after in zip(head.layers, start.layers, whole.layers, strict=True):
        if own.weights and own.name not in ("standardise", "fc1", "fc2"):
            assert_same_weights(own, before)
            assert any(
                (a != b).any() for a, b in zip(own.get_weights(), after.get_weights(), strict=True)
            ), own.name
    assert (head.get_layer("fc1").get_weights()[0] != start.get_layer("fc1").get_weights()[0]).any()
    rate = slow.learning_rate
    assert [epoch["learning_rate"] for epoch in history] == pytest.approx([rate] * 3)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_killed_training_ends_as_one_that_was_not(corpus, tmp_path):
    """In a process of its own, which kills itself the hard way once an epoch is saved."""
    given = arguments_for(corpus, model="mobilenet15")
    train_downstream(**given, out=tmp_path / "whole")
    script = f"""
import os, signal
from pathlib import PosixPath
from ser_nsl.pipeline.progress import Progress
from ser_nsl.training import AugmentationConfig, TrainingConfig, train_downstream
def save_and_die(self, measured, save=Progress.save):
    save(self, measured)
    os.kill(os.getpid(), signal.SIGKILL)
Progress.save = save_and_die
train_downstream(**{given!r}, out={tmp_path / "killed"!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / ".killed.partial" / "unfinished" / "checkpoint").exists()
    train_downstream(**given, out=tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_only_the_same_training_is_gone_on_with(corpus, tmp_path, monkeypatch):
    found = []

    def stopped(*given, **settings):
        found.append((given[-1] / "unfinished").exists())
        (given[-1] / "unfinished").mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "fit", stopped)
    renamed = copytree(corpus.features, tmp_path / "features")
    replace(corpus.description, classes=("anger", "joy", "fear")).save(renamed)
    same = arguments_for(corpus)
    for other in (
        same,
        same,
        same | {"features": renamed},
        same | {"training": replace(SHORT, learning_rate=0.02)},
    ):
        with pytest.raises(KeyboardInterrupt):
            train_downstream(**other, out=tmp_path / "model")

    assert found == [False, True, False, False]


def test_another_seed_gives_other_weights(corpus, untrained, tmp_path):
    for seed in (3, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train_downstream(
                **arguments_for(corpus, training=replace(SHORT, seed=seed)), out=tmp_path / "model"
            )

    one, same, other = (network.get_layer("fc2").get_weights()[0] for network in untrained)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=0.01)


def test_copies_are_read_only_where_they_are_asked_for(corpus, untrained, tmp_path):
    features = copytree(corpus.features, tmp_path / "features")
    with ShardWriter(features, "copy1", 1) as writer:  # lacks all other clips
        writer.write(feature_example("train00", corpus.logmel["train00"], 0))
    given = arguments_for(corpus, features=features)

    with pytest.raises(InputError, match="copy1 lacks clips"):
        train_downstream(**given, out=tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        train_downstream(**given | {"training": replace(SHORT, copies=False)}, out=tmp_path / "out")


def test_best_and_last_weights_are_saved_once_patience_is_over(corpus, tmp_path):
    training = replace(SHORT, epochs=40, keep="best", patience=3)

    counts, model, history = train(corpus, tmp_path / "model", training=training)

    uars = [epoch["val_uar"] for epoch in history]
    assert counts["kept_epoch"] == 1 + uars.index(max(uars)) == len(history) - 3
    assert validate(corpus, model) == pytest.approx(max(uars))
    model.load_weights(tmp_path / "model" / "last.weights.h5")
    assert validate(corpus, model) == pytest.approx(uars[-1]) != max(uars)


def test_mixed_precision_ends_in_float32(corpus, tmp_path, monkeypatch):
    real, seen = fit_module.fit, []

    def watch(trained, network, *given, **settings):
        progress = real(trained, network, *given, **settings)
        seen.append((trained.optimizer, network.get_layer("fc1").compute_dtype))
        return progress

    monkeypatch.setattr(fit_module, "fit", watch)
    training = replace(SHORT, precision="mixed_float16")

    _, model, history = train(corpus, tmp_path / "model", method="nsl", training=training)

    ((optimizer, inside),) = seen
    assert isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
    assert inside == "float16"
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_loss"] == pytest.approx(validation_loss(corpus, model), rel=5e-3)


def test_embeddings_are_trained_with(corpus, write_embeddings, tmp_path):
    write_embeddings(corpus.labels["val"], split="val")
    embeddings = write_embeddings(corpus.labels["train"])

    counts, model, _ = train(
        corpus, tmp_path / "model", method="max", training=ONCE, embeddings=embeddings
    )

    assert counts["clips"] == 13
    assert model.input_names == ["logmel", "embedding"]


def test_embeddings_of_another_width_cannot_join(corpus, write_embeddings, tmp_path):
    folder = write_embeddings(corpus.labels["train"], width=255)

    with pytest.raises(InputError, match="embeddings of 256 numbers; received 255"):
        train(corpus, tmp_path / "model", method="max", training=ONCE, embeddings=folder)


def test_trains_on_both_splits_without_validation(corpus, tmp_path):
    counts, _, history = train(corpus, tmp_path / "model", training=ONCE, splits=("train", "val"))

    assert counts == {"clips": 13 + 7, "epochs": 1, "kept_epoch": 1}
    assert history[0].keys() == {"loss", "uar", "learning_rate"}


def test_graph_is_trained_on_both_splits(corpus, tmp_path):
    packed = tmp_path / "packed"
    splits = ("train", "val")
    pack_neighbors(
        features=corpus.features, graph=corpus.graph, out=packed, splits=splits, form="indexed"
    )

    counts, _, history = train(
        corpus,
        tmp_path / "model",
        method="nsl",
        training_records=packed,
        training=ONCE,
        splits=splits,
    )

    assert (counts["clips"], counts["without_neighbors"]) == (13 + 7, 7)
    assert "val_uar" not in history[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "nsl"}, "training_records: the method 'nsl', and no other, needs them"),
        ({"splits": ("train", "test")}, "splits: the test split must have no part"),
        ({"method": "nsl", "max_neighbors": 0}, "max_neighbors: must be at least 1; received 0"),
        (
            {"method": "nsl", "training_records": "training_records", "splits": ("train", "val")},
            "splits: .* holds clips of train; received train val",
        ),
        (
            {"method": "add"},
            "embeddings: the methods embedding, .* avg, and no other, need them; the method is add",
        ),
        ({"training_records": "training_records"}, "training_records: the method 'nsl'"),
        (
            {"embeddings": "features"},
            "embeddings: the methods embedding, .* need them; the method is",
        ),
        (
            {"splits": ("train", "val"), "training": replace(SHORT, keep="best")},
            r"training\.keep: 'best' needs a validation split",
        ),
        (
            {"training": replace(SHORT, schedule='{"class_name": "Cosine", "config": {}}')},
            r"training\.schedule: .*'Cosine'",
        ),
        (
            {
                "method": "nsl",
                "training_records": "training_records",
                "training": replace(SHORT, layer="fc3"),
            },
            "cnn6 has no layer 'fc3'",
        ),
        (
            {"splits": ("train", "val"), "training": replace(SHORT, patience=1)},
            r"training\.patience: 1 needs a validation split",
        ),
        (
            {"training": replace(SHORT, augmentation=AugmentationConfig(20))},
            r"augmentation\.time_shift_frames: must be at most 19, since clips have 20 frames",
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


def test_records_of_other_features_are_refused(corpus, tmp_path):
    features = copytree(corpus.features, tmp_path / "features")
    replace(corpus.description, classes=("anger", "fear", "joy")).save(features)

    given = arguments_for(corpus, method="nsl") | {"features": features}
    with pytest.raises(InputError, match="was packed from features with other classes"):
        train_downstream(**given, out=tmp_path / "model")


def test_runaway_loss_leaves_the_earlier_model(corpus, tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "stage.json").write_text('{"stage": "train_downstream"}')
    (out / "model.h5").write_bytes(b"earlier")
    jump = {"boundaries": [STEPS], "values": [0.001, 1e30]}
    training = replace(
        SHORT, schedule=json.dumps({"class_name": "PiecewiseConstantDecay", "config": jump})
    )

    # The first step of the second epoch is the last one at the lower rate.
    match = r"learning_rate: the loss is (nan|inf) in step [34] of epoch 2, at 1e\+30.*: train\d\d"
    with pytest.raises(InputError, match=match) as error:
        train(corpus, out, training=training)

    assert (out / "model.h5").read_bytes() == b"earlier"
    assert "The weights of epoch 1 are in" in str(error.value)
    network = NETWORKS["tiny"](corpus.description)
    network.load_weights(tmp_path / ".model.partial" / "last.weights.h5")
    assert all(np.isfinite(weights).all() for weights in network.get_weights())


def test_nothing_is_left_where_no_epoch_ended(corpus, tmp_path):
    jump = {"boundaries": [1], "values": [1e30, 1e30]}
    schedule = json.dumps({"class_name": "PiecewiseConstantDecay", "config": jump})
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in step 2 of epoch 1, at 1e\+30"):
        train(corpus, tmp_path / "model", training=replace(SHORT, schedule=schedule))

    assert not list(tmp_path.iterdir())


def test_graph_with_fewer_neighbours_than_asked_for_is_reported(
    corpus, untrained, tmp_path, capsys
):
    for asked in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            train_downstream(
                **arguments_for(corpus, method="nsl", max_neighbors=asked), out=tmp_path / "model"
            )

    shown = capsys.readouterr().out
    assert "max_neighbors: 5 are asked for, but no clip has more than 2" in shown
    assert "max_neighbors: 2" not in shown


def test_graph_without_neighbours_is_refused(corpus, tmp_path):
    graph, packed = tmp_path / "graph.tsv", tmp_path / "packed"
    graph.write_text("train00\ttrain01\t1\n")  # of two emotions
    pack_neighbors(features=corpus.features, graph=graph, out=packed)

    with pytest.raises(InputError, match="training_records: no clip of .*packed has a neighbour"):
        train_downstream(
            **arguments_for(
                corpus,
                method="nsl",
                training_records=packed,
                training=replace(SHORT, edges="agreeing"),
            ),
            out=tmp_path / "model",
        )


def test_one_emotion_is_refused(corpus, tmp_path):
    features = copytree(corpus.features, tmp_path / "features")
    replace(corpus.description, classes=("anger",)).save(features)

    with pytest.raises(InputError, match=f"features: {features} knows one emotion, anger"):
        train_downstream(**arguments_for(corpus) | {"features": features}, out=tmp_path / "out")
