import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio.damage import DamageConfig
from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.networks import NETWORKS
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.networks.saved import load_model, read_model
from ser_nsl.pipeline.progress import Progress
from ser_nsl.training.heard import HeardWindows, mean_parts
from ser_nsl.training.settings import AugmentationConfig, TeachingConfig, TrainingConfig
from ser_nsl.training.teach import teach_network
from ser_nsl.training.train import train_downstream
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.encoder import pool

pytest.importorskip("pyroomacoustics")
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

WHISPER = str(Path(__file__).parents[1] / "upstream" / "fixtures" / "whisper")
CLEAN = DamageConfig(**dict.fromkeys(vars(DamageConfig()), 0.0))
TEACHING = TeachingConfig(
    layers=(1, 2), epochs=8, batch_size=4, window_seconds=0.5, windows=2, learning_rate=0.01
)
CONFIG = TrainingConfig(epochs=2, batch_size=15, learning_rate=0.003, keep="last")


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """A few steps of a small network take less time than to trace it."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    def build(description):
        layers = tf.keras.layers
        logmel, x = logmel_input(description)
        x = layers.Reshape((-1, description.logmel_shape[1]))(x)
        x = layers.Conv1D(16, 4, strides=4, activation="relu", name="frames")(x)
        x = layers.BatchNormalization()(layers.GlobalAveragePooling1D()(x))
        x = layers.Dense(256, activation="relu", name="fc1")(x)
        logits = layers.Dense(len(description.classes), name="fc2")(x)
        return tf.keras.Model(logmel, logits, name="small")

    monkeypatch.setitem(NETWORKS, "small", build)


@pytest.fixture
def teach(tone_corpus, tmp_path):
    def teach(name: str = "taught", **changes):
        given = {"speech": (tone_corpus,), "teacher": WHISPER, "model": "small", "config": TEACHING}
        return teach_network(**given | changes, out=tmp_path / name)

    return teach


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


@pytest.mark.parametrize("method", ["frames", "similarity"])
def test_network_learns_without_labels(method, teach):
    quiet = replace(TEACHING, batch_size=16, epochs=20, speeds=(1.0, 1.0), damages=CLEAN)
    made = teach(method=method, config=quiet)

    assert made.counts["clips"] == 20 and made.counts["epochs"] == 20  # 16 are kept for checking
    history = json.loads((made.out / "history.json").read_text())
    assert history[-1]["trained"][0] < 0.8 * history[0]["trained"][0]
    assert made.counts["last_loss"] == round(history[-1]["checked"][0], 4)
    if method == "frames":
        assert history[-1]["trained"][1] < 0.9 * history[0]["trained"][1]
    body, description = read_model(made.out)
    assert body.output_shape == (None, 256) and description.classes == ()
    assert {path.name for path in made.out.iterdir()} - {"stage.json"} == {
        *("model.h5", "description.json", "history.json")
    }
    with pytest.raises(InputError, match="knows no class; train it on labels with .* --start"):
        load_model(made.out)


def test_what_is_heard_in_each_window(tmp_path, monkeypatch):
    draw, front_end = np.random.default_rng(0), FrontEndConfig()
    clips = draw.normal(0, 0.1, (5, 8_000)).astype(
        np.float32
    )  # of one window, so it is all of them
    paths = [tmp_path / f"{row}.wav" for row in range(5)]
    for path, clip in zip(paths, clips, strict=True):
        soundfile.write(path, clip, 16_000, "FLOAT")
    teacher, listened = load_upstream(WHISPER).encoder, []
    frames = type(teacher).frames

    def count(self, waveform, layers):
        listened.append(len(waveform))
        return frames(self, waveform, layers)

    monkeypatch.setattr(type(teacher), "frames", count)
    config = replace(TEACHING, speeds=(1.0, 1.0), damages=CLEAN)
    for _ in range(2):  # the second time all of it is there
        heard = HeardWindows(paths, teacher, 5, config, front_end, tmp_path / "heard")
    assert sum(listened) == 2 * len(paths)

    windows = 0.9 * clips / np.abs(clips).max(axis=1, keepdims=True)
    own = np.concatenate(frames(teacher, windows, (1, 2)), axis=-1)
    first = heard.first
    assert first.logmel.dtype == np.float16
    np.testing.assert_allclose(first.logmel, log_mel(windows, front_end), atol=0.1)
    np.testing.assert_allclose(first.parts, own.reshape(5, 5, 5, -1).mean(axis=2), atol=0.01)
    np.testing.assert_allclose(first.pooled, pool(own, "statistics"), atol=0.01)
    (batch,) = heard.batches(0)
    assert [len(values) for values in batch] == [4, 4, 4]


def test_frames_beyond_float16_stay_finite(tone_corpus, tmp_path, monkeypatch):
    paths, teacher = sorted(tone_corpus.rglob("*.wav"))[:4], load_upstream(WHISPER).encoder
    frames = type(teacher).frames
    monkeypatch.setattr(
        type(teacher), "frames", lambda *given: [1e6 * each for each in frames(*given)]
    )
    heard = HeardWindows(paths, teacher, 2, TEACHING, FrontEndConfig(), tmp_path / "heard")
    assert np.abs(heard.first.parts).max() == np.finfo(np.float16).max
    assert np.isfinite(heard.first.pooled).all()


def test_batches_draw_clips_and_windows_by_the_epoch(tone_corpus, tmp_path):
    paths, teacher = sorted(tone_corpus.rglob("*.wav"))[:8], load_upstream(WHISPER).encoder
    heard = HeardWindows(paths, teacher, 2, TEACHING, FrontEndConfig(), tmp_path / "heard")

    def epoch(number):
        return np.concatenate([batch.pooled for batch in heard.batches(number)])

    known = {tuple(row) for turn in heard._turns for row in turn.pooled}
    first = epoch(0)
    assert len(known) == 16 and {tuple(row) for row in first} < known
    np.testing.assert_array_equal(first, epoch(0))
    assert not np.array_equal(first, epoch(1))


def test_parts_share_the_frames_across_their_edges():
    frames = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    fine = np.repeat(frames, 4, axis=1)  # 28 slices, of which each of four parts has seven

    expected = fine.reshape(2, 4, 7, 3).mean(axis=2)

    np.testing.assert_allclose(mean_parts(tf.constant(frames), 4), expected, atol=1e-6)
    np.testing.assert_allclose(mean_parts(tf.constant(frames), 14)[:, ::2], frames, atol=1e-6)


def test_too_little_room_is_told_before_anything_is_heard(teach, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(InputError, match=r"speech: 2 windows of 4 clips need .* GB .*make room"):
        teach()
    assert not (tmp_path / "taught").exists()


def test_training_starts_where_teaching_ended(corpus, teach, tmp_path):
    taught = teach(config=replace(TEACHING, epochs=1), front_end=corpus.description.front_end).out
    frozen = replace(CONFIG, epochs=1, learning_rate=1e-9)

    train_downstream(
        features=corpus.features,
        method="base",
        start=taught,
        out=tmp_path / "model",
        model="small",
        training=frozen,
    )

    model, description = load_model(tmp_path / "model")
    body, learned = read_model(taught)
    for name in ("batch_normalization", "fc1"):
        ours, theirs = (each.get_layer(name).trainable_weights for each in (model, body))
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(own, other, atol=1e-6)
    assert (description.mean, description.classes) == (learned.mean, corpus.description.classes)
    assert learned.mean != corpus.description.mean


@pytest.mark.parametrize("method", ["frames", "similarity"])
def test_stopped_teaching_ends_as_one_that_was_not(method, teach, monkeypatch):
    changes = {"method": method, "config": replace(TEACHING, epochs=3)}
    whole = teach("whole", **changes).out
    save = Progress.save

    def stop(self, measured):
        save(self, measured)
        if len(self.history) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            teach("stopped", **changes)
    stopped = teach("stopped", **changes).out

    for name in ("history.json", "model.h5"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


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


def test_what_does_not_fit_is_refused(corpus, teach, tmp_path, monkeypatch):
    for change, message in (
        ({"config": replace(TEACHING, layers=(1, 3))}, r"layers: .* 0 to 2,.* received \(1, 3\)"),
        ({"config": replace(TEACHING, window_seconds=0.6)}, "must be at most 0.5 s"),
        ({"config": replace(TEACHING, batch_size=19)}, "speech: .* at least 38 clips.*received 36"),
        ({"teacher": "./nowhere"}, "upstream: ./nowhere is not a folder"),
        ({"speech": ()}, "speech: give one folder"),
    ):
        with pytest.raises(InputError, match=message):
            teach(**change)
    assert not (tmp_path / "taught").exists()
    for setting, value in (
        ("damages", DamageConfig(silence=0.1)),
        ("augmentation", AugmentationConfig(time_shift_frames=2)),
    ):
        with pytest.raises(ValueError, match=rf"{setting}\.\w+ must be 0, since"):
            replace(TEACHING, **{setting: value})

    taught = teach(config=replace(TEACHING, epochs=1), front_end=corpus.description.front_end).out
    start = {"features": corpus.features, "method": "base", "start": taught}
    with pytest.raises(InputError, match="start: .* is a small, and --model is resnet9"):
        train_downstream(**start, model="resnet9", out=tmp_path / "model")
    description = Description.load(taught)
    level = replace(description.front_end, level="none")
    replace(description, front_end=level).save(taught)
    with pytest.raises(InputError, match="start: .* has learned with the front end .*none"):
        train_downstream(**start, model="small", out=tmp_path / "model")
