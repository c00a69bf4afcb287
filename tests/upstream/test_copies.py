from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.upstream.copies import alter, write_copies

TONE = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_a_tone_has_another_pitch_and_noise(seed):
    altered = alter(TONE, np.random.default_rng(seed))

    assert altered.dtype == np.float32
    speed = len(TONE) / len(altered)
    assert 0.85 <= speed <= 1.15
    power = np.abs(np.fft.rfft(altered * np.hanning(len(altered)))) ** 2
    hertz = np.fft.rfftfreq(len(altered), 1 / 16_000)
    assert hertz[power.argmax()] == pytest.approx(1_000 * speed, abs=2)
    tone = np.abs(hertz - 1_000 * speed) < 5
    snr_db = 10 * np.log10(power[tone].sum() / power[~tone].sum())
    assert 9 < snr_db < 42


def test_copies_follow_from_the_random_state():
    once, again, other = (alter(TONE, np.random.default_rng(seed)) for seed in (1, 1, 2))

    np.testing.assert_array_equal(once, again)
    assert len(once) != len(other)


def test_tilt_changes_the_spectrum_of_noise():
    """Two bands far apart, whose balance speed and soft noise leave alone."""
    noise = np.random.default_rng(0).standard_normal(64_000).astype(np.float32)
    balances = []
    for seed in range(20):
        power = np.abs(np.fft.rfft(alter(noise, np.random.default_rng(seed)))) ** 2
        low, high = (
            power[int(a * len(power)) : int(b * len(power))].mean()
            for a, b in ((0.05, 0.1), (0.6, 0.8))
        )
        balances.append(10 * np.log10(high / low))
    assert max(balances) > 3
    assert min(balances) < -3
    assert np.abs(balances).max() < 15


def sound(path: Path) -> bytes:
    """The samples of a file; its header has the time of writing."""
    return soundfile.read(path)[0].tobytes()


def test_written_copies(tmp_path):
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        soundfile.write(path, TONE, 16_000)
    first = write_copies(paths, ["a", "b"], tmp_path / "one", copies=2, seed=3)
    contents = [sound(path) for path in first]

    assert len(set(contents)) == 4
    assert sorted((tmp_path / "one").iterdir()) == sorted(first)
    # The same id makes the same copy, wherever it stands in the list and whatever came before.
    first[0].unlink()
    times = [path.stat().st_mtime_ns for path in first[1:]]
    again = write_copies(paths[::-1], ["b", "a"], tmp_path / "one", copies=2, seed=3)
    assert [sound(path) for path in again] == [contents[i] for i in (1, 0, 3, 2)]
    assert [path.stat().st_mtime_ns for path in first[1:]] == times
    other = write_copies(paths, ["a", "b"], tmp_path / "two", copies=2, seed=4)
    assert not {sound(path) for path in other} & set(contents)
    assert write_copies(paths, ["a", "b"], tmp_path / "none", copies=0, seed=3) == []
