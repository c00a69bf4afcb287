import pytest

from benchmarks.mini_upstream.make import make_upstream
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream


def test_the_seed_decides_the_weights(small_upstream, tmp_path):
    sizes = {"hidden_size": 16, "layers": 1, "channels": 8}
    make_upstream(out=tmp_path / "same", **sizes, seed=0)
    make_upstream(out=tmp_path / "other", **sizes, seed=1)

    weights, same, other = (
        (folder / "model.safetensors").read_bytes()
        for folder in (small_upstream, tmp_path / "same", tmp_path / "other")
    )
    assert weights == same
    assert weights != other


def test_sizes_are_those_asked_for(tmp_path):
    result = make_upstream(out=tmp_path / "model", hidden_size=8, layers=2, channels=4)

    upstream = load_upstream(str(tmp_path / "model"))
    encoder, head = upstream.encoder, upstream.require_head()
    assert (encoder.width, encoder.layers) == (8, 2)
    assert encoder.body.config.conv_dim == [4] * 7
    assert head.width == 256
    of_head = (8 + 1) * 256 + (256 + 1) * 2
    mask = 8  # for training only
    assert result.counts == {"parameters": encoder.parameters + mask + of_head}
    assert encoder.extractor.do_normalize


@pytest.mark.parametrize(
    "sizes", [{"hidden_size": 6}, {"hidden_size": 0}, {"layers": 0}, {"channels": -1}]
)
def test_impossible_sizes_are_refused(sizes, tmp_path):
    with pytest.raises(InputError, match="hidden_size, layers, channels: "):
        make_upstream(out=tmp_path / "model", **sizes)
