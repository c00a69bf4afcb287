"""The failure of a worker changes no result.

Of Beam's local runners only BundleBasedDirectRunner tries a failed bundle again, up to four times;
FnApiRunner, the default, gives up at the first failure (Beam issue 18640).
"""

import errno
import json
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")


from ser_nsl.beam import blocks, edges, pack, vectors

pytestmark = pytest.mark.slow
RETRYING = "BundleBasedDirectRunner"
PLACES = {
    "reading embeddings": (vectors, "parse", 50),
    "forming blocks": (blocks, "count", 2),
    "comparing": (edges, "find_edges_between", 3),
    "reading features": (pack, "parse", 50),
    "packing": (pack, "count", 30),
}


class Flaky:
    """A function that fails like a full disk at one of its calls, or at this and all later ones."""

    def __init__(self, function: Callable, call: int, *, recovers: bool = True) -> None:
        self.function, self.call, self.recovers = function, call, recovers
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.call or (self.calls > self.call and not self.recovers):
            raise OSError(errno.EIO, "the disk fails")
        return self.function(*args, **kwargs)


@pytest.fixture
def inputs(write_embeddings, write_features) -> dict:
    random = np.random.default_rng(0)
    centres = random.normal(size=(9, 16))
    clips = {f"clip {i}": centres[i % 9] + random.normal(0, 0.3, 16) for i in range(90)}
    features = write_features({name: i % 3 - 1 for i, name in enumerate(clips)})
    clips["zero"] = np.zeros(16)
    return {"embeddings": write_embeddings(clips), "features": features}


@pytest.fixture
def outcome(beam_here, inputs, lines_of, records_of, tmp_path) -> Callable:
    """Returns a function that runs all steps, and returns what they write."""

    def run(*options: str, **settings):
        out = tmp_path / "out"
        beam_here(
            *options, **inputs, out=out, similarity_threshold=0.8, blocks=3, shards=2, **settings
        )
        return (
            lines_of(out / "graph" / "graph"),
            records_of(out / "training"),
            lines_of(out / "dead_letters" / "graph"),
        )

    return run


def test_failed_bundles_are_tried_again_and_nothing_is_lost_or_duplicated(outcome, monkeypatch):
    whole = outcome()
    flaky = {}
    for place, (where, name, call) in PLACES.items():
        flaky[place] = Flaky(getattr(where, name), call)
        monkeypatch.setattr(where, name, flaky[place])

    again = outcome(runner=RETRYING)

    for function in flaky.values():
        assert function.calls > function.call  # it failed, and was called again
    assert again == whole
    assert len(whole[0]) > 100
    assert len(whole[1]) == 60
    assert [json.loads(letter)["id"] for letter in whole[2]] == ["zero"]


def test_bundles_that_run_twice_change_nothing(outcome):
    assert outcome("--direct_runner_bundle_repeat=1") == outcome()


def test_lasting_failure_is_raised_and_makes_no_dead_letter(outcome, monkeypatch, tmp_path):
    flaky = Flaky(vectors.parse, 50, recovers=False)
    monkeypatch.setattr(vectors, "parse", flaky)

    with pytest.raises(RuntimeError, match="OSError: .*the disk fails"):
        outcome(runner=RETRYING)
    assert flaky.calls == 53  # four times the fiftieth record, or others after it
    assert not (tmp_path / "out").exists()
