from dataclasses import replace

import numpy as np
import pytest
import soundfile

from ser_nsl.audio.damage import DamageConfig
from ser_nsl.upstream.settings import LessonConfig
from ser_nsl.upstream.windows import window_batches

pytest.importorskip("pyroomacoustics")

NONE = DamageConfig(**dict.fromkeys(vars(DamageConfig()), 0.0))
ALL = replace(NONE, noise=1.0, band=1.0, codec=0.5)
SOME = replace(NONE, noise=0.3, band=0.3)

CONFIG = LessonConfig(batch_size=4, window_seconds=0.5, speeds=(1.0, 1.0), damages=NONE)


@pytest.fixture
def paths(tmp_path):
    """Ten clips of a second, each a tone of its own at a level of its own."""
    time = np.arange(16_000) / 16_000
    paths = [tmp_path / f"{i}.wav" for i in range(10)]
    for i, path in enumerate(paths):
        tone = 0.05 * (i + 1) * np.sin(2 * np.pi * (200 + 100 * i) * time)
        soundfile.write(path, tone, 16_000, "FLOAT")
    return paths


def windows(paths, config, epoch=0):
    _, clean, damaged = zip(*window_batches(paths, config, epoch), strict=True)
    return np.concatenate(clean), np.concatenate(damaged)


def pitches(clips) -> list[int]:
    return [2 * int(np.abs(np.fft.rfft(clip)).argmax()) for clip in clips]


def test_a_window_of_each_clip_at_one_level(paths):
    clean, damaged = windows(paths, CONFIG)

    assert clean.shape == (8, 8_000)  # two clips fill no batch
    assert clean.dtype == damaged.dtype == np.float32
    np.testing.assert_allclose(np.abs(clean).max(axis=1), 0.9, atol=1e-3)
    found = pitches(clean)
    assert len(set(found)) == 8
    assert set(found) <= set(range(200, 1_200, 100))
    np.testing.assert_array_equal(clean, damaged)


def test_only_the_student_hears_damages(paths):
    clean, damaged = windows(paths, replace(CONFIG, damages=ALL))

    np.testing.assert_array_equal(clean, windows(paths, CONFIG)[0])
    assert damaged.dtype == np.float32
    assert np.isfinite(damaged).all()
    assert (np.abs(clean - damaged).max(axis=1) > 1e-2).all()
    some = windows(paths, replace(CONFIG, damages=SOME))[1]
    assert 0 < (np.abs(clean - some).max(axis=1) > 1e-6).sum() < 8


def test_both_hear_the_same_speed(paths):
    clean, damaged = windows(paths, replace(CONFIG, speeds=(1.25, 1.25)))

    assert set(pitches(clean)) <= {round(1.25 * f / 2) * 2 for f in range(200, 1_200, 100)}
    np.testing.assert_array_equal(clean, damaged)


def test_the_same_epoch_gives_the_same_windows(paths):
    config = replace(CONFIG, damages=SOME)
    first = windows(paths, config)
    np.random.seed(123)  # noqa: NPY002
    for again, expected in zip(windows(paths, config), first, strict=True):
        np.testing.assert_array_equal(again, expected)
    for change, epoch in (({}, 1), ({"seed": 1}, 0)):
        assert not np.array_equal(windows(paths, replace(config, **change), epoch)[1], first[1])


def test_epochs_take_the_windows_of_a_clip_in_turn(paths):
    config = replace(CONFIG, batch_size=5, speeds=(0.8, 1.25), damages=ALL, windows=2)

    def by_clip(epoch):
        rows, clean, damaged = zip(*window_batches(paths, config, epoch), strict=True)
        order = np.concatenate(rows).argsort()
        return np.concatenate(clean)[order], np.concatenate(damaged)[order]

    first, second, third = (by_clip(epoch) for epoch in range(3))
    np.testing.assert_array_equal(first[0], third[0])
    assert (np.abs(first[0] - second[0]).max(axis=1) > 1e-2).all()
    assert (np.abs(first[1] - third[1]).max(axis=1) > 1e-2).all()  # other damages
