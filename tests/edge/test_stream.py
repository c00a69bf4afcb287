import math
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError

RATE = 16_000
LENGTH = 12  # of the input of the recogniser


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def chunked(samples: np.ndarray, largest: int, seed: int = 0) -> list[np.ndarray]:
    """Cuts samples into chunks of 0 to `largest` samples."""
    random = np.random.default_rng(seed)
    sizes = random.integers(0, largest, 2 * len(samples) // largest + 100, endpoint=True)
    return np.split(samples, np.cumsum(sizes)[np.cumsum(sizes) < len(samples)])


def feed_all(stream, chunks) -> list:
    return [prediction for chunk in chunks for prediction in stream.feed(chunk)]


@pytest.mark.parametrize("rate", [RATE, 8_000, 44_100])
@pytest.mark.parametrize("hop", [5, 22 / 3, 40])
def test_predicts_the_last_window_as_a_clip(recognizer, rate, hop):
    """Hops are shorter and longer than the window, or end between two samples."""
    samples = noise(2000)
    hop_seconds = hop / rate
    window = math.ceil(LENGTH * rate / RATE)
    predictions = feed_all(
        recognizer.stream(rate, hop_seconds=hop_seconds, smoothing_seconds=0), chunked(samples, 50)
    )

    ends = {n * hop_seconds: round(n * hop) for n in range(1, int(2000 / hop) + 1)}
    expected = [
        (seconds, recognizer.predict(samples[end - window : end], rate))
        for seconds, end in ends.items()
        if end >= window
    ]
    assert predictions == expected
    assert len(predictions) > 40


@pytest.mark.parametrize("largest", [1, 17, 1000])
def test_chunks_change_nothing(recognizer, largest):
    samples = noise(1000)
    whole = recognizer.stream(44_100, hop_seconds=0.001).feed(samples)
    chunks = chunked(samples, largest)

    assert feed_all(recognizer.stream(44_100, hop_seconds=0.001), chunks) == whole
    assert len(whole) > 10
    assert any(len(chunk) == 0 for chunk in chunks) or largest == 1000


def test_silence_has_no_prediction_and_ends_the_smoothing(recognizer):
    sound, silence = noise(60), np.full(60, 5e-5, np.float32)
    settings = {"hop_seconds": 12 / RATE, "smoothing_seconds": 1}
    predictions = recognizer.stream(RATE, **settings).feed(np.concatenate([sound, silence, sound]))
    alone = recognizer.stream(RATE, **settings).feed(sound)

    seconds = [prediction.time_seconds for prediction in predictions]
    assert seconds == pytest.approx(np.array([1, 2, 3, 4, 5, 11, 12, 13, 14, 15]) * 12 / RATE)
    answers = [prediction.probabilities for prediction in predictions]
    assert answers == [prediction.probabilities for prediction in alone] * 2


def test_waits_for_the_first_window(recognizer):
    stream = recognizer.stream(RATE, hop_seconds=6 / RATE, smoothing_seconds=0)

    assert stream.window_seconds == LENGTH / RATE
    assert stream.feed(noise(LENGTH)[:-1]) == []
    assert stream.feed(noise(LENGTH)[-1:]) == [(12 / RATE, recognizer.predict(noise(LENGTH), RATE))]


def test_int16_float_and_channels(recognizer):
    left, right = noise(60, 1), noise(60, 2)
    whole = ((left + right) * 16_384).astype(np.int16)
    stereo = np.stack([left, right], axis=1)
    settings = {"hop_seconds": 10 / RATE, "smoothing_seconds": 0}
    mixed = feed_all(
        recognizer.stream(RATE, **settings), [whole[:25], whole[25:40] / 32768, whole[40:, None]]
    )

    assert mixed == recognizer.stream(RATE, **settings).feed(whole)
    two = feed_all(recognizer.stream(RATE, **settings), np.split(stereo, [0, 1, 3, 30]))
    assert two == recognizer.stream(RATE, **settings).feed((left + right) / 2)
    assert len(mixed) == len(two) == 5


def test_smoothing_is_a_mean_with_weights_that_fall_with_age(recognizer):
    samples, hop = noise(70), 10 / RATE
    raw = recognizer.stream(RATE, hop_seconds=hop, smoothing_seconds=0).feed(samples)
    smooth = recognizer.stream(RATE, hop_seconds=hop, smoothing_seconds=3 * hop).feed(samples)
    values = np.array([list(prediction.probabilities.values()) for prediction in raw])

    for n, prediction in enumerate(smooth):
        weights = np.exp(-np.arange(n, -1, -1) / 3)
        expected = np.average(values[: n + 1], axis=0, weights=weights)
        assert list(prediction.probabilities.values()) == pytest.approx(expected)
        assert list(prediction.probabilities) == list(recognizer.labels)
        assert prediction.time_seconds == raw[n].time_seconds


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.array([[0.0, 1], [0, np.inf]]), "NaN or infinite"),
        (np.zeros((9, 2), np.int32), "received int32"),
        (np.zeros((2, 99)), r"shape .*received \(2, 99\)"),
        (np.zeros((0, 3)), "samples: must keep 2 channel.*; received 3"),
        (np.zeros(9), "samples: must keep 2 channel.*; received 1"),
    ],
)
def test_bad_chunks_leave_the_stream_as_it_was(recognizer, chunk, message):
    samples = np.stack([noise(100, 1), noise(100, 2)], axis=1)
    stream = recognizer.stream(RATE, hop_seconds=10 / RATE)
    before = stream.feed(samples[:37])
    with pytest.raises(InputError, match=message):
        stream.feed(chunk)

    expected = recognizer.stream(RATE, hop_seconds=10 / RATE).feed(samples)
    assert before + stream.feed(samples[37:]) == expected


def test_a_bad_or_empty_first_chunk_does_not_fix_the_channels(recognizer):
    stream = recognizer.stream(RATE, hop_seconds=10 / RATE)
    with pytest.raises(InputError, match="NaN"):
        stream.feed(np.full((50, 2), np.nan))

    assert stream.feed(np.zeros((0, 2))) == []
    assert len(stream.feed(noise(50))) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate_hz": 44.1}, "sample_rate_hz: must be a number in Hz"),
        (
            {"hop_seconds": 0.9 / RATE},
            "hop_seconds: .*at least one sample; received .* at 16000 Hz",
        ),
        ({"hop_seconds": math.inf}, "hop_seconds: .*finite.*received inf"),
        ({"hop_seconds": math.nan}, "hop_seconds: .*received nan"),
        ({"smoothing_seconds": -1}, "smoothing_seconds: must be 0 or more.*received -1"),
        ({"smoothing_seconds": math.inf}, "smoothing_seconds: must be 0 or more.*received inf"),
        ({"smoothing_seconds": math.nan}, "smoothing_seconds: must be 0 or more.*received nan"),
    ],
)
def test_bad_settings(recognizer, settings, message):
    with pytest.raises(InputError, match=message):
        recognizer.stream(**{"sample_rate_hz": RATE} | settings)


def test_twenty_minutes_without_drift_in_little_memory(convert, pack_all, tmp_path):
    """The audio shows its own time: its value grows from 0 to 1 in that time."""
    length = RATE // 10
    middle = length // 2
    model = convert(lambda x: tf.stack([x[:, middle], 1 - x[:, middle]], 1), length)
    (tmp_path / "clock.tflite").write_bytes(pack_all(model, ["value", "rest"], clip_samples=length))
    rate, chunk, hop = 44_100, 44_321, 1.7
    total = 1200 * rate
    stream = Recognizer(tmp_path / "clock.tflite").stream(
        rate, hop_seconds=hop, smoothing_seconds=0
    )
    predictions = []
    tracemalloc.start()
    for start in range(0, total, chunk):
        time = np.arange(start, min(start + chunk, total)) / total
        predictions += stream.feed(time.astype(np.float32))
        if start == 0:
            tracemalloc.reset_peak()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ends = np.array([prediction.time_seconds for prediction in predictions])
    middles = np.array([prediction.probabilities["value"] for prediction in predictions]) * 1200

    assert len(predictions) == int(1200 / hop)
    np.testing.assert_allclose(ends, hop * np.arange(1, len(ends) + 1))
    # The window's middle is 0.05 s before its end. The resampler scales by 1 - 1e-6.
    np.testing.assert_allclose(middles, ends - 0.05, rtol=2e-6, atol=1e-3)
    assert peak < 5e6
