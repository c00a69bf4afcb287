"""MediaPipe's AudioClassifier, as apps use it, beside our own runtime on the same file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from mediapipe.tasks.python import audio
from mediapipe.tasks.python.components.containers import AudioData
from mediapipe.tasks.python.core.base_options import BaseOptions

from ser_nsl.edge import Recognizer

RATE = 16_000
WINDOW = 8000  # samples of the recogniser's input


@pytest.fixture
def recognizer(recogniser) -> Recognizer:
    return Recognizer(recogniser)


def noises(seconds: float, rate: int = RATE) -> np.ndarray:
    """Noise that gets louder, so that no two windows are alike; stereo, the channels differ."""
    samples = np.random.default_rng(0).normal(0, 0.1, (int(seconds * rate), 2))
    return samples * np.linspace(0.05, 1, len(samples))[:, np.newaxis]


def read(path: Path, samples: np.ndarray, rate: int) -> np.ndarray:
    """The samples that a 16-bit WAV file gives back."""
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return soundfile.read(path, dtype="float32")[0]


def by_name(result: audio.AudioClassifierResult) -> dict[str, float]:
    (head,) = result.classifications
    return {category.category_name: category.score for category in head.categories}


def classify(recogniser: Path, samples: np.ndarray, rate: int) -> list[tuple[float, dict]]:
    """The start of each window in seconds, and MediaPipe's probabilities; mode `AUDIO_CLIPS`."""
    options = audio.AudioClassifierOptions(BaseOptions(str(recogniser)))
    with audio.AudioClassifier.create_from_options(options) as classifier:
        results = classifier.classify(AudioData.create_from_array(samples, rate))
    return [(result.timestamp_ms / 1000, by_name(result)) for result in results]


def classify_stream(
    recogniser: Path, chunks: list[np.ndarray], rate: int
) -> list[tuple[float, dict]]:
    """The same in mode `AUDIO_STREAM`."""
    results = []
    options = audio.AudioClassifierOptions(
        BaseOptions(str(recogniser)),
        running_mode=audio.RunningMode.AUDIO_STREAM,
        result_callback=lambda result, ms: results.append((ms / 1000, by_name(result))),
    )
    milliseconds = 0.0
    with audio.AudioClassifier.create_from_options(options) as classifier:
        for chunk in chunks:
            classifier.classify_async(AudioData.create_from_array(chunk, rate), int(milliseconds))
            milliseconds += 1000 * len(chunk) / rate
    return results


def test_clips(recogniser, recognizer, tmp_path):
    samples = read(tmp_path / "clip.wav", noises(1)[:, 0], RATE)
    first, second = classify(recogniser, samples, RATE)

    assert (first[0], second[0]) == (0, 0.5)
    assert first[1] == pytest.approx(recognizer.predict(samples, RATE), abs=1e-5)
    assert second[1] == pytest.approx(recognizer.predict(samples[WINDOW:], RATE), abs=1e-5)
    assert first[1] != pytest.approx(second[1], abs=1e-2)


def test_stream(recogniser, recognizer, tmp_path):
    samples = read(tmp_path / "clip.wav", noises(1.5)[:, 0], RATE)
    chunks = np.split(samples, range(700, len(samples), 700))
    theirs = classify_stream(recogniser, chunks, RATE)[:3]  # then comes what is left, none

    ours = recognizer.stream(RATE, hop_seconds=0.5, smoothing_seconds=0).feed(samples)

    assert [seconds for seconds, _ in theirs] == [0, 0.5, 1]
    for (start, probabilities), prediction in zip(theirs, ours, strict=True):
        assert prediction.time_seconds == start + 0.5
        assert probabilities == pytest.approx(prediction.probabilities, abs=1e-5)


def test_other_rates_and_channels(recogniser, recognizer, tmp_path):
    """MediaPipe has its own resampler, so the answers are only similar."""
    samples = read(tmp_path / "clip.wav", noises(0.5, 44_100), 44_100)
    theirs = classify(recogniser, samples, 44_100)[0][1]

    assert theirs == pytest.approx(recognizer.predict(samples, 44_100), abs=1e-3)


def test_short_clips_are_filled_with_zeros(recogniser, recognizer):
    """Where we repeat, as in training; whoever uses MediaPipe gives it a whole window."""
    samples = noises(0.3)[:, 0]
    ((_, theirs),) = classify(recogniser, samples, RATE)
    filled = np.pad(samples, (0, WINDOW - len(samples)))

    assert theirs == pytest.approx(recognizer.predict(filled, RATE), abs=1e-5)
    assert theirs != pytest.approx(recognizer.predict(samples, RATE), abs=1e-2)
