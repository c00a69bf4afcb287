import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from ser_nsl.audio import damage
from ser_nsl.audio.damage import DamageConfig, damaged

RATE = 16_000
KINDS = [*vars(DamageConfig())]


def only(kind: str) -> DamageConfig:
    return DamageConfig(**{name: float(name == kind) for name in KINDS})


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A second and a half of harmonics in syllables, peak 0.5."""
    time = np.arange(24_000) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 50))
    clip = voice * np.maximum(0, np.sin(2 * np.pi * 3 * time)) ** 2
    return (0.5 * clip / np.abs(clip).max()).astype(np.float32)


def power(clip: np.ndarray) -> float:
    return float(np.mean(np.square(clip, dtype=np.float64)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_a_clip_and_follows_from_the_seed(kind, speech):
    before = speech.copy()

    first, again, other = (damaged(speech, seed, only(kind)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert np.isfinite(first).all() and 1e-3 < np.abs(first).max() <= 1
    assert not np.array_equal(first, speech[: len(first)])
    assert kind == "codec" or not np.array_equal(first, other)  # both may be a telephone's
    np.testing.assert_array_equal(speech, before)


def test_without_damages_a_clip_is_as_it_was(speech):
    nothing = DamageConfig(**dict.fromkeys(KINDS, 0.0))

    np.testing.assert_array_equal(damaged(speech, 3, nothing), speech)


def test_a_quiet_clip_is_never_made_silent(speech):
    for seed in range(20):
        assert np.abs(damaged(speech / 500, seed, only("gain"))).max() >= 0.99e-3


@pytest.mark.parametrize(("tilt", "snr"), [(0.0, 20.0), (-3.0, 10.0)])
def test_noise_has_its_power_and_its_color(tilt, snr, speech):
    noise = damage.add_noise(speech, snr, tilt, np.random.default_rng(0)) - speech

    assert 10 * np.log10(power(speech) / power(noise)) == pytest.approx(snr, abs=0.01)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    low, high = (spectrum[(hertz > f) & (hertz < 1.2 * f)].mean() for f in (400, 6_400))
    assert 10 * np.log10(high / low) / 4 == pytest.approx(tilt, abs=0.6)


@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.8])
def test_rooms_have_their_reverberation(seconds):
    click = np.zeros(2 * RATE, np.float32)
    click[0] = 1
    heard = damage.reverberated(click, seconds)

    left = 10 * np.log10(np.cumsum(heard[::-1] ** 2)[::-1] / power(heard) / len(heard) + 1e-12)
    falls = np.flatnonzero(left < -25)[0] - np.flatnonzero(left < -5)[0]
    assert 3 * falls / RATE == pytest.approx(seconds, rel=0.35)


def test_a_telephone_keeps_its_band():
    noise = damage.colored(2 * RATE, 0.0, np.random.default_rng(0)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(damage.within(noise, 300, 3_400))) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    inside = spectrum[(hertz > 400) & (hertz < 3_000)].mean()

    for low, high in ((0, 200), (4_500, 8_000)):
        outside = spectrum[(hertz >= low) & (hertz < high)].mean()
        assert 10 * np.log10(outside / inside) < -20


@pytest.mark.parametrize(("codec", "rates"), [("OPUS", (12, 16, 24)), ("MP3", (24, 32, 64))])
def test_codecs_keep_time_and_lose_more_at_lower_rates(codec, rates, speech):
    errors = []
    for rate in rates:
        coded = damage.through_codec(speech, codec, rate)
        assert coded.shape == speech.shape
        np.testing.assert_array_equal(coded, damage.through_codec(speech, codec, rate))
        errors.append(power(coded - speech) / power(speech))

    assert max(errors) < 0.3  # a shift by a sample or two would have more
    assert errors == sorted(errors, reverse=True)
    assert power(damage.through_mu_law(speech) - speech) / power(speech) < 1e-3


def test_shares_are_shares():
    with pytest.raises(ValueError, match=r"noise must be 0 to 1; received 1\.5"):
        DamageConfig(noise=1.5)
