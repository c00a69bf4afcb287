from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from ser_nsl.audio.clip import fit_length
from ser_nsl.audio.damage import add
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.sounds import SOUNDS
from ser_nsl.edge import NO_SPEECH
from ser_nsl.export.answers import Answers, _temperature, fit_answers
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import to_tflite

SAMPLES = 8_000


def syllables(seed: int) -> np.ndarray:
    """A voice-like sound: a gliding harmonic tone that opens and closes four times a second."""
    draw = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / 16_000
    pitch = np.cumsum(draw.uniform(100, 250) * (1 + 0.2 * np.sin(2 * np.pi * 2 * time))) / 16_000
    tones = [np.sin(2 * np.pi * k * pitch) / k for k in range(1, 20)]
    return (0.2 * np.sum(tones, 0) * np.sin(2 * np.pi * 2 * time) ** 2).astype("float32")


@pytest.fixture(scope="module")
def clips(description, tmp_path_factory) -> Clips:
    folder = tmp_path_factory.mktemp("voices")
    paths = [folder / f"{seed}.wav" for seed in range(24)]
    for seed, path in enumerate(paths):
        soundfile.write(path, syllables(seed), 16_000)
    return Clips("train", paths, np.arange(24) % 3, description)


@pytest.fixture(scope="module")
def answers(model, clips, description) -> Answers:
    judged = Clips("val", clips.paths[:6], clips.labels[:6], description)
    return fit_answers(model, clips, judged)


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_are_no_speech_and_voices_are(kind, answers, model, description):
    sounds = [SOUNDS[kind](SAMPLES, np.random.default_rng(seed)) for seed in range(900, 912)]
    voices = [syllables(seed) for seed in range(900, 912)]

    heard = [
        answers.of(model, log_mel(tf.constant(np.stack(each), tf.float32), description.front_end))
        for each in (sounds, voices)
    ]

    sound, voice = (np.median(each[:, -1]) for each in heard)
    assert sound > 0.75 > 0.25 > voice
    np.testing.assert_allclose(np.sum(heard[0], axis=1), 1, rtol=1e-5)


def test_other_speech_teaches_what_speech_is(answers, model, clips, description, tmp_path):
    """A whisper is none of the voices that train."""

    def whisper(seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(0, 0.1, SAMPLES)
        return noise * np.sin(2 * np.pi * 2 * np.arange(SAMPLES) / 16_000) ** 2

    others = [tmp_path / f"{seed}.wav" for seed in range(24)]
    for seed, path in enumerate(others):
        soundfile.write(path, whisper(seed), 16_000)
    unheard = np.stack([whisper(seed) for seed in range(900, 912)]).astype("float32")

    taught = fit_answers(model, clips, clips, others)

    logmel = log_mel(tf.constant(unheard), description.front_end)
    before, after = (np.median(each.of(model, logmel)[:, -1]) for each in (answers, taught))
    assert before > 0.5 > 0.25 > after


@pytest.mark.parametrize("kind", ["tones", "knocks"])
def test_speech_over_a_sound_is_speech(kind, answers, model, description):
    sounds = [SOUNDS[kind](SAMPLES, np.random.default_rng(seed)) for seed in range(900, 912)]
    mixed = [add(syllables(900 + i), sound, snr_db=6) for i, sound in enumerate(sounds)]

    logmel = log_mel(tf.constant(np.stack(mixed)), description.front_end)

    assert np.median(answers.of(model, logmel)[:, -1]) < 0.25


def test_file_answers_as_keras_does(answers, model, description):
    waveform = fit_length(syllables(77), description.clip_samples)[np.newaxis]
    content = to_tflite(model, description, answers=answers)

    (result,) = tf.lite.Interpreter(model_content=content).get_signature_runner()(
        waveform=waveform
    )["probabilities"]

    expected = answers.of(model, log_mel(tf.constant(waveform), description.front_end))[0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_temperature_is_that_of_logistic_regression():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    margins = 8 * (labels - 0.5) + random.normal(0, 6, 500)
    logits = np.stack([np.zeros(500), margins], axis=1)

    (slope,) = LogisticRegression(C=1e6, fit_intercept=False).fit(margins[:, None], labels).coef_[0]

    assert _temperature(logits, labels) == pytest.approx(1 / slope, rel=1e-2)


def test_typical_is_the_mean_over_emotions_of_equal_weight(model, clips, description, monkeypatch):
    monkeypatch.setattr("ser_nsl.export.answers.speech_detector", lambda *clips: None)
    doubled = Clips(
        "val",
        [*clips.paths[:3], clips.paths[0]],  # the first emotion twice, by the same clip
        np.array([0, 1, 2, 0]),
        description,
    )
    once = Clips("val", clips.paths[:3], np.arange(3), description)

    first, second = (
        fit_answers(model, Clips("train", clips.paths, clips.labels, description), each)
        for each in (once, doubled)
    )

    at_temperature_1 = tf.nn.log_softmax(model(once.logmels()) / first.temperature).numpy().mean(0)
    np.testing.assert_allclose(first.typical, at_temperature_1, atol=1e-3)
    again = tf.nn.log_softmax(model(once.logmels()) / second.temperature).numpy().mean(0)
    np.testing.assert_allclose(second.typical, again, atol=1e-3)


def test_corpus_with_a_class_of_no_speech_needs_no_detector(model, clips, description):
    named = replace(description, classes=("angry", NO_SPEECH, "sad"))
    known = Clips("train", clips.paths, clips.labels, named)

    found = fit_answers(model, known, known)

    logits = model(known.logmels()).numpy()[:, [0, 2]]
    means = [log_softmax(logits[known.labels == label], axis=1).mean(axis=0) for label in (0, 2)]
    assert found.detector is None
    assert found.temperature == 1  # all clips were trained on
    assert found.labels(named.classes) == named.classes
    assert found.typical == pytest.approx(np.mean(means, axis=0), abs=1e-3)  # of emotions alone


def test_validation_clips_without_speech_leave_typical_unknown(model, clips, description):
    """A corpus may have its only clips without speech in validation."""
    named = replace(description, classes=("angry", NO_SPEECH, "sad"))
    known = Clips("train", clips.paths, clips.labels, named)
    silent = Clips("val", clips.paths[:4], np.full(4, 1), named)

    assert fit_answers(model, known, silent).typical is None
