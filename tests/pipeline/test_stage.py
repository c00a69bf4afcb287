from types import SimpleNamespace

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current
from tests.pipeline.stages import collect


def test_texts_stand_for_paths(folder, tmp_path):
    out = tmp_path / "out"
    collect(folder=folder, out=out)
    by_paths = read_record(out)

    assert is_current(collect, {"folder": str(folder), "out": str(out)})
    result = collect(folder=str(folder), out=str(out))

    assert result.out == out
    assert read_record(out)["paths"] == by_paths["paths"] == {"folder": str(folder)}


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_that_no_generator_takes_is_refused_at_once(seed, folder, tmp_path):
    with pytest.raises(InputError, match=rf"setting\.seed: must be 0 to .* received {seed}\."):
        collect(folder=folder, out=tmp_path / "out", setting=SimpleNamespace(seed=seed))
