import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from benchmarks.tflite import benchmark_tflite, check_targets
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.networks.saved import save_model

FORMS = ("float32", "float16", "dynamic", "int8")


@pytest.fixture
def arguments(tmp_path) -> dict:
    """A model of one layer, and two clips of half a second, one for testing."""
    description = Description(FrontEndConfig(mel_bins=8), 8000, ("a", "b"), (0.0,) * 8, (1.0,) * 8)
    logmel, x = logmel_input(description)
    logits = tf.keras.layers.Dense(2)(tf.keras.layers.GlobalMaxPooling2D()(x))
    (tmp_path / "model").mkdir()
    save_model(tf.keras.Model(logmel, logits, name="tiny"), description, tmp_path / "model")
    lines = ["utterance_id,path,speaker,gender,emotion,split,duration_seconds,corpus"]
    for split in ("train", "test"):
        noise = np.random.default_rng(0).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / f"{split}.wav", noise, 16_000)
        lines.append(f"{split},{split}.wav,{split},female,a,{split},0.5,tiny")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return {
        "model_dirs": (tmp_path / "model",),
        "manifest": tmp_path / "manifest.csv",
        "audio_dir": tmp_path,
        "out": tmp_path / "bench",
    }


@pytest.mark.slow
def test_every_form_in_every_runtime(arguments):
    result = benchmark_tflite(**arguments, rounds=1)

    measured = json.loads((arguments["out"] / "benchmark.json").read_text())
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
    assert result.counts == {"networks": 1, "timed": len(rows), "targets_missed": 0}
    assert (arguments["out"] / "benchmark.md").read_text().count("| tiny ") == len(tiny)
    assert {path.suffix for path in arguments["out"].iterdir()} == {".json", ".md", ".svg"}


def test_targets_are_ratios_of_medians_with_one_thread_of_litert():
    medians = {
        ("resnet9", "float32"): 4.0,
        ("resnet9", "int8"): 1.0,
        ("cnn_tdnn", "int8"): 0.8,
        ("front end", "float32"): 0.4,
        ("upstream", "float32"): 400.0,
    }
    rows = [
        (network, form, "tensorflow" if network == "upstream" else runtime, threads, factor * ms)
        for (network, form), ms in medians.items()
        for runtime, threads, factor in (
            ("ai_edge_litert", 1, 1),
            ("tflite_runtime", 1, 9),
            ("ai_edge_litert", 2, 9),
        )
        if network != "upstream" or runtime == "ai_edge_litert"
    ]
    table = pd.DataFrame(rows, columns=["network", "form", "runtime", "threads", "median_ms"])

    checked = check_targets(table)

    assert [target["ratio"] for target in checked] == [0.25, 0.2, 0.1111, 0.1, 0.0025, 0.002]
    assert [target["kept"] for target in checked] == [True, False, False, True, True, True]
    assert len(check_targets(table[table["network"] != "cnn_tdnn"])) == 3
    assert check_targets(table[table["network"] != "resnet9"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arguments: arguments | {"rounds": 0}, "rounds: .* received 0"),
        (lambda arguments: arguments | {"model_dirs": 2 * arguments["model_dirs"]}, "tiny"),
    ],
)
def test_bad_arguments_are_refused(arguments, change, message):
    with pytest.raises(InputError, match=message):
        benchmark_tflite(**change(arguments))
    assert not arguments["out"].exists()
