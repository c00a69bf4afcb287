import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score

from ser_nsl.edge import Recognizer
from ser_nsl.export.clips import Clips
from ser_nsl.export.parity import Parity, broken_bounds, compare

KEPT = Parity(largest=1e-5, mean=1e-6, agreement=1.0, uar=0.6, keras_uar=0.6)


@pytest.fixture
def clips(description) -> np.ndarray:
    clips = np.random.default_rng(0).normal(0, 0.1, (5, description.clip_samples))
    return clips.astype("float32")


@pytest.fixture
def paths(clips, tmp_path) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        soundfile.write(path, clip, 16_000, subtype="FLOAT")
    return paths


@pytest.fixture
def compared(recogniser, description, paths):
    """Compares the exported file with a Keras model, and gives the clips these labels."""

    def run(model: tf.keras.Model, labels=(-1,) * 5) -> Parity:
        recognizers = {"float32": Recognizer(recogniser)}
        clips = Clips("val", paths, np.array(labels), description)
        return compare(recognizers, model, clips)["float32"]

    return run


def test_same_model(compared, model):
    parity = compared(model)

    assert 0 <= parity.mean <= parity.largest < 1e-5
    assert parity.agreement == 1
    assert (parity.uar, parity.keras_uar) == (None, None)


def test_another_model_differs(compared, recogniser, other_model, clips):
    parity = compared(other_model)

    ours = [list(Recognizer(recogniser).predict(clip, 16_000).values()) for clip in clips]
    assert 1e-2 < parity.largest <= max(np.max(ours), 1 - np.min(ours))
    assert parity.mean < parity.largest


def test_uar_of_both(compared, recogniser, model, other_model, description, clips):
    labels = [0, 1, 2, 0, -1]
    parity = compared(other_model, labels)

    ours = [list(Recognizer(recogniser).predict(clip, 16_000).values()) for clip in clips[:4]]
    assert parity.uar == pytest.approx(balanced_accuracy_score(labels[:4], np.argmax(ours, 1)))
    assert compared(model, labels).keras_uar == parity.uar


def test_labels_that_disagree_are_counted(compared, model):
    opposite = tf.keras.Model(model.input, tf.keras.layers.Rescaling(-1.0)(model.output))

    assert compared(opposite).agreement == 0


def test_nan_stays_nan(compared, model):
    broken = tf.keras.Model(model.input, tf.keras.layers.Rescaling(np.nan)(model.output))
    parity = compared(broken)

    assert np.isnan(parity.largest)
    assert broken_bounds("int8", parity)


@pytest.mark.parametrize(
    ("form", "changed", "message"),
    [
        ("float32", {"largest": 2e-4}, r"differs from Keras's by 2\.0e-04, allowed is 0\.0001"),
        ("float16", {"largest": 0.02}, r"by 2\.0e-02, allowed is 0\.01"),
        ("float16", {"agreement": 8 / 9}, r"11\.1% of the clips get another label"),
        ("dynamic", {"uar": 0.594}, r"0\.6 points below Keras's, allowed is 0\.5"),
        ("int8", {"uar": 0.5}, r"10\.0 points below"),
    ],
)
def test_bounds(form, changed, message):
    (found,) = broken_bounds(form, replace(KEPT, **changed))

    assert re.search(message, found)


@pytest.mark.parametrize(
    ("form", "changed"),
    [
        ("float32", {}),
        ("float16", {"largest": 9e-3}),
        ("dynamic", {"largest": 0.3, "agreement": 0.9, "uar": 0.596}),
        ("int8", {"largest": 0.3, "uar": 0.7}),
        ("int8", {"largest": 0.3, "uar": None, "keras_uar": None}),
    ],
)
def test_what_the_bounds_allow(form, changed):
    assert broken_bounds(form, replace(KEPT, **changed)) == []
