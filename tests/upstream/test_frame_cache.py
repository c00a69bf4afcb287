import numpy as np
import pytest
import soundfile

from ser_nsl.upstream import frame_cache
from ser_nsl.upstream.frame_cache import FrameCache


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    for i, path in enumerate(paths):
        soundfile.write(path, np.full(100 + i, (i + 1) / 8), 16_000)
    return paths


@pytest.mark.parametrize("place", ["memory", "disk", "nowhere"])
def test_frames_are_the_same_wherever_they_are_kept(place, paths, tmp_path, monkeypatch):
    computed = []

    def compute(waveforms: np.ndarray) -> np.ndarray:
        computed.extend(waveforms[:, 0])
        return waveforms.reshape(len(waveforms), 3, 40)

    if place != "memory":
        monkeypatch.setattr(frame_cache, "_MEMORY_BYTES", 5 * 3 * 40 * 4 - 1)
    if place == "nowhere":
        monkeypatch.setattr(frame_cache, "_DISK_SHARE", 0.0)
    cache = FrameCache(paths, 120, compute, tmp_path, batch=2)
    for chosen in ([4, 0, 3], [1]):
        batches = list(cache.batches(np.array(chosen)))
        assert max(map(len, batches)) <= 2
        expected = np.repeat((np.array(chosen) + 1) / 8, 120).reshape(-1, 3, 40)
        np.testing.assert_array_equal(np.concatenate(batches), expected)

    assert (tmp_path / "frames").exists() == (place == "disk")
    assert len(computed) == (2 + 4 if place == "nowhere" else 5)
