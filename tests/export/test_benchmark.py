import json

import pytest

from ser_nsl.errors import InputError
from ser_nsl.export.benchmark import benchmark_tflite
from ser_nsl.networks.saved import save_model

FORMS = ("float32", "float16", "dynamic", "int8")


@pytest.fixture
def arguments(model, description, manifest, tmp_path):
    (tmp_path / "model").mkdir()
    save_model(model, description, tmp_path / "model")
    return {"model_dirs": (tmp_path / "model",), "out": tmp_path / "bench", **manifest}


def test_every_form_in_every_runtime(arguments):
    result = benchmark_tflite(**arguments, rounds=1)
    measured = json.loads((arguments["out"] / "benchmark.json").read_text())
    table = (arguments["out"] / "benchmark.md").read_text()

    rows = measured["rows"]
    runtimes = ("ai_edge_litert", "tflite_runtime")
    tiny = [(row["form"], row["runtime"], row["threads"]) for row in rows if row["bytes"]]
    assert sorted(tiny) == sorted((f, r, n) for f in FORMS for r in runtimes for n in (1, 2))
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in rows)
    factors = [row["real_time_factor"] * 500 for row in rows]  # clips last half a second
    assert factors == pytest.approx([row["median_ms"] for row in rows], rel=1e-2, abs=1e-4)
    (upstream,) = (row for row in rows if row["network"] == "upstream" and row["threads"] == 1)
    assert upstream["median_ms"] > 10 * min(row["median_ms"] for row in rows if row["bytes"])
    assert all(row["memory_mb"] > 0.1 for row in rows if row["bytes"] and row["threads"] == 1)
    assert measured["bars"] == []  # they are for networks of the package
    assert result.counts == {"networks": 1, "timed": len(rows), "bars_missed": 0}
    assert table.count("| tiny ") == len(tiny)
    assert {path.suffix for path in arguments["out"].iterdir()} == {".json", ".md", ".svg"}


def test_two_models_of_one_network_are_refused(arguments):
    arguments["model_dirs"] *= 2

    with pytest.raises(InputError, match="is another tiny"):
        benchmark_tflite(**arguments, rounds=1)


def test_no_rounds_are_refused(arguments):
    with pytest.raises(InputError, match="rounds: must be at least 1; received 0"):
        benchmark_tflite(**arguments, rounds=0)
