from pathlib import Path

import numpy as np
import pytest

from benchmarks.mini_upstream.lower_layers import keep_lower_layers
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream

FIXTURES = Path(__file__).parents[1] / "upstream" / "fixtures"


def test_lower_layers_are_those_of_the_whole_encoder(tmp_path):
    whole = load_upstream(str(FIXTURES / "whisper")).encoder
    kept = whole.layers - 1
    made = keep_lower_layers(teacher=str(FIXTURES / "whisper"), layers=kept, out=tmp_path / "lower")

    lower = load_upstream(str(made.out)).encoder
    assert (lower.layers, lower.parameters) == (kept, made.counts["parameters"])
    clips = np.random.default_rng(0).normal(0, 0.1, (2, 4_000)).astype(np.float32)
    below = range(kept)
    for own, expected in zip(lower.frames(clips, below), whole.frames(clips, below), strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-3)  # float16
    normalised = whole.body.layer_norm(whole.frames(clips, [kept])[0])
    np.testing.assert_allclose(lower.frames(clips, [kept])[0], normalised, atol=2e-3)


@pytest.mark.parametrize(
    ("teacher", "layers", "message"),
    [
        ("whisper", 9, "layers: must be different numbers from 0"),
        ("hubert", 1, "must be a Whisper"),
    ],
)
def test_what_cannot_be_kept_is_refused(teacher, layers, message, tmp_path):
    with pytest.raises(InputError, match=message):
        keep_lower_layers(teacher=str(FIXTURES / teacher), layers=layers, out=tmp_path / "lower")
