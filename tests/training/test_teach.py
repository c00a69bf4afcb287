import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.networks import NETWORKS
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.networks.saved import load_model, read_model
from ser_nsl.pipeline.progress import Progress
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.training.teach import teach_network
from ser_nsl.training.train import train_downstream

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

CONFIG = TrainingConfig(epochs=10, batch_size=15, learning_rate=0.003, keep="last")


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """A few steps of a small network take less time than to trace it."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    def build(description):
        logmel, x = logmel_input(description)
        x = tf.keras.layers.BatchNormalization()(tf.keras.layers.Flatten()(x))
        x = tf.keras.layers.Dense(256, activation="relu", name="fc1")(x)
        logits = tf.keras.layers.Dense(len(description.classes), name="fc2")(x)
        return tf.keras.Model(logmel, logits, name="small")

    monkeypatch.setitem(NETWORKS, "small", build)


@pytest.fixture
def levels(corpus, tmp_path):
    """Embeddings that a network can read from log Mel: the mean of each third of the bands."""
    folder = tmp_path / "levels"
    folder.mkdir()
    with ShardWriter(folder, "train", 1) as writer:
        for utterance_id in corpus.labels["train"]:
            thirds = [part.mean() for part in np.array_split(corpus.logmel[utterance_id], 3, 1)]
            writer.write(embedding_example(utterance_id, np.float32(thirds)))
    return folder


@pytest.mark.parametrize("method", ["embedding", "similarity"])
def test_network_learns_embeddings_without_labels(method, corpus, levels, tmp_path):
    made = teach_network(
        features=corpus.features,
        embeddings=levels,
        out=tmp_path / "taught",
        model="small",
        method=method,
        training=CONFIG,
    )

    assert made.counts["clips"] == 15 and made.counts["epochs"] == 10  # labelled or not
    assert made.counts["last_loss"] < 0.7 * made.counts["first_loss"]
    body, description = read_model(tmp_path / "taught")
    assert body.output_shape == (None, 256) and description.classes == ()
    with pytest.raises(InputError, match="knows no class; train it on labels with .* --start"):
        load_model(tmp_path / "taught")


def test_training_starts_where_teaching_ended(corpus, levels, tmp_path):
    features = tmp_path / "features"  # of other speech, whose bands have other means
    features.mkdir()
    for path in corpus.features.iterdir():
        (features / path.name).write_bytes(path.read_bytes())
    other = replace(corpus.description, mean=(-30.0,) * 16, deviation=(7.0,) * 16)
    other.save(features)
    once = replace(CONFIG, epochs=1)
    settings = {"model": "small", "training": once}
    teach_network(features=features, embeddings=levels, out=tmp_path / "taught", **settings)
    frozen = replace(once, learning_rate=1e-9)

    train_downstream(
        features=corpus.features,
        method="base",
        start=tmp_path / "taught",
        out=tmp_path / "model",
        model="small",
        training=frozen,
    )

    model, description = load_model(tmp_path / "model")
    body, _ = read_model(tmp_path / "taught")
    for name in ("batch_normalization", "fc1"):
        ours, theirs = (each.get_layer(name).trainable_weights for each in (model, body))
        for own, learned in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(own, learned, atol=1e-6)
    assert (description.mean, description.classes) == (other.mean, corpus.description.classes)


@pytest.mark.parametrize("method", ["embedding", "similarity"])
def test_stopped_teaching_ends_as_one_that_was_not(method, corpus, levels, tmp_path, monkeypatch):
    arguments = {
        "features": corpus.features,
        "embeddings": levels,
        "model": "small",
        "method": method,
        "training": replace(CONFIG, epochs=3),
    }
    teach_network(**arguments, out=tmp_path / "whole")
    save = Progress.save

    def stop(self, measured):
        save(self, measured)
        if len(self.history) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            teach_network(**arguments, out=tmp_path / "stopped")
    teach_network(**arguments, out=tmp_path / "stopped")

    for name in ("history.json", "model.h5"):
        whole, stopped = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert whole.read_bytes() == stopped.read_bytes(), name


@pytest.mark.parametrize("method", ["embedding", "similarity"])
def test_training_follows_vectors_beside_labels(method, corpus, levels, tmp_path):
    made = train_downstream(
        features=corpus.features,
        method=method,
        embeddings=levels,
        out=tmp_path / "model",
        model="small",
        training=replace(CONFIG, epochs=2, label_share=0.3),
    )

    assert made.counts["clips"] == 6  # labelled ones; the other nine learn from vectors alone
    model, description = load_model(tmp_path / "model")
    assert model.input_names == ["logmel"] and description == corpus.description
    (first, _) = json.loads((tmp_path / "model" / "history.json").read_text())
    names = {"loss", "uar", "learning_rate", "taught_loss", "val_loss", "val_uar"}
    assert first.keys() == names


def test_what_does_not_fit_is_refused(corpus, levels, tmp_path):
    arguments = {"features": corpus.features, "embeddings": levels, "out": tmp_path / "out"}
    with pytest.raises(InputError, match="without labels no epoch is the best"):
        teach_network(**arguments, model="small", training=TrainingConfig())
    teach_network(
        **arguments | {"out": tmp_path / "taught"},
        model="small",
        training=replace(CONFIG, epochs=1),
    )
    start = {"features": corpus.features, "method": "base", "start": tmp_path / "taught"}
    with pytest.raises(InputError, match="start: .* is a small, and --model is resnet9"):
        train_downstream(**start, model="resnet9", out=tmp_path / "model")
    description = Description.load(tmp_path / "taught")
    hop = replace(description.front_end, hop_samples=128)
    replace(description, front_end=hop).save(tmp_path / "taught")
    with pytest.raises(InputError, match="start: .* has learned with the front end .*128"):
        train_downstream(**start, model="small", out=tmp_path / "model")
