import numpy as np
import pytest
import soundfile

from ser_nsl.upstream import frame_cache
from ser_nsl.upstream.frame_cache import FrameCache


@pytest.mark.parametrize(("disk_share", "computed_again"), [(0.5, False), (0.0, True)])
def test_frames_are_the_same_with_and_without_room(
    disk_share, computed_again, tmp_path, monkeypatch
):
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    for i, path in enumerate(paths):
        soundfile.write(path, np.resize([(i + 1) / 8, -(i + 1) / 8], 100 + i), 16_000)
    computed = []

    def compute(waveforms: np.ndarray) -> np.ndarray:
        computed.extend(waveforms[:, 0])
        return waveforms.reshape(len(waveforms), 3, 40)

    monkeypatch.setattr(frame_cache, "_DISK_SHARE", disk_share)
    cache = FrameCache(paths, 120, compute, tmp_path, batch=2)
    for chosen in ([4, 0, 3], [1]):
        batches = list(cache.batches(np.array(chosen)))
        assert max(map(len, batches)) <= 2
        expected = np.repeat((np.array(chosen) + 1) / 8, 120).reshape(-1, 3, 40)
        np.testing.assert_array_equal(abs(np.concatenate(batches)), expected)

    assert len(computed) == (2 + 4 if computed_again else 5)
