import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from ser_nsl.errors import InputError
from ser_nsl.evaluation.conditions import CONDITIONS, under

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Two seconds of harmonics in syllables, peak 0.4."""
    time = np.arange(2 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 50))
    clip = voice * np.maximum(0, np.sin(2 * np.pi * 3 * time)) ** 2
    return (0.4 * clip / np.abs(clip).max()).astype(np.float32)


def decibels(clip: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(clip, dtype=np.float64))))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_are_seeded_and_of_the_length(condition, speech):
    before = speech.copy()
    heard = under(condition, speech, 3 * RATE, seed=(5, 1), voices=[speech[::-1]])

    assert heard.dtype == np.float32
    assert heard.shape == (3 * RATE,)
    assert np.isfinite(heard).all() and 0 < np.abs(heard).max() <= 1
    again = under(condition, speech, 3 * RATE, seed=(5, 1), voices=[speech[::-1]])
    np.testing.assert_array_equal(heard, again)
    np.testing.assert_array_equal(speech, before)
    repeated = np.resize(speech, 3 * RATE)
    assert (condition == "as recorded") == np.array_equal(heard, repeated)
    assert under(condition, speech, RATE, seed=0).shape == (RATE,)


@pytest.mark.parametrize(
    ("condition", "snr"),
    [("white noise, 20 dB", 20), ("pink noise, 10 dB", 10), ("babble, 15 dB", 15)],
)
def test_what_is_added_has_the_named_power(condition, snr, speech):
    added = under(condition, speech, len(speech), seed=1) - speech

    assert decibels(speech) - decibels(added) == pytest.approx(snr, abs=0.05)


def test_levels_silence_and_rooms(speech):
    quiet = under("-20 dB", speech, len(speech), seed=1)
    np.testing.assert_allclose(quiet, speech / 10, rtol=1e-5)
    late = under("a second of silence before", speech, 3 * RATE, seed=1)
    assert not late[:RATE].any()
    np.testing.assert_array_equal(late[RATE:], speech)
    room = under("a second of room noise before", speech, 3 * RATE, seed=1)
    assert decibels(room[:RATE]) == pytest.approx(-60, abs=0.05)
    padded = under("zero-padded", speech, 3 * RATE, seed=1)
    assert not padded[2 * RATE :].any()
    phone = under("peak -12 dBFS, room noise -60", speech, len(speech), seed=1)
    assert np.abs(phone).max() == pytest.approx(10 ** (-12 / 20), abs=0.005)


def test_unknown_conditions_are_refused(speech):
    with pytest.raises(InputError, match="condition: must be one of as recorded.*'-15 dB'"):
        under("-15 dB", speech, RATE, seed=0)
