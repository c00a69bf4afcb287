from pathlib import Path

import numpy as np
import pytest

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embedder import Embedder

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def upstream():
    return load_upstream(str(FIXTURES / "whisper"))


@pytest.mark.parametrize("samples", [8_000, 7_777, 400])
def test_log_mel_as_transformers(samples, upstream):
    """Loud, soft and silent clips, each in its own range, and not padded to 30 s."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3, samples))
    swell = np.linspace(0, 1, samples) ** 4
    clips = np.stack([noise[0] * swell, 1e-4 * noise[1], 0 * noise[2]]).astype(np.float32)

    found = upstream.encoder.log_mel(clips).numpy()

    expected = upstream.encoder.extractor(
        list(clips), sampling_rate=16_000, padding=False, return_tensors="np"
    ).input_features
    assert found.shape == (3, samples // 160, 80)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=1e-4)


def test_clips_that_do_not_fit_are_refused(upstream):
    for samples, message in (
        (319, r"must hold 320 samples .* one frame .*received 0\.0199\d* s, that is 319"),
        (8_001, r"window_seconds: must be at most 0\.5 s, .* whisper; received 0\.50006"),
    ):
        with pytest.raises(InputError, match=message):
            Embedder(upstream, samples, layers=(1,))
    for samples in (320, 8_000):
        found = Embedder(upstream, samples, layers=(1,))(np.ones((1, samples), np.float32))
        assert np.isfinite(found).all()
