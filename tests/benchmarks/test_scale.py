from pathlib import Path

import pytest

from benchmarks.scale import describe, main, plan, write_corpus
from ser_nsl.corpora import prepare_corpus
from ser_nsl.errors import InputError


def test_steps_are_those_before_training(tmp_path):
    steps = plan(tmp_path)
    names = [step.function.__name__ for step in steps]

    assert names[:2] == ["prepare_corpus", "extract_features"]
    assert {"probe_embeddings", "build_graph", "pack_neighbors"} <= {*names}
    assert not {"train_downstream", "export_tflite"} & {*names}
    made = {step.out for step in steps}
    given = {Path(path) for step in steps for path in step.inputs()} - made
    assert given == {tmp_path / "audio", Path("models/whisper-base-lower")}


def test_corpus_has_speakers_and_emotions(tmp_path):
    write_corpus(tmp_path / "audio", 200)

    step = plan(tmp_path)[0]
    made = prepare_corpus(**step.arguments)

    assert made.counts["clips"] == 200
    assert len([*(tmp_path / "audio").glob("*/*/*.wav")]) == 200


def test_growth_share_and_memory_are_shown():
    def row(seconds: float, gigabytes: float, size: int) -> dict:
        return {
            "step": "build_graph -> graph.tsv",
            "cpu_seconds": seconds,
            "peak_gigabytes": gigabytes,
            "input_bytes": size,
            "read_bytes": 10**6 + 2 * size,
        }

    steps = [[row(1, 0.5, 100), row(3, 0.7, 100)], [row(6, 0.5, 400), row(9, 0.9, 400)]]
    text = describe({"machine": "this", "clips": (2_500, 10_000), "steps": steps})

    assert "**3.75 times** the CPU time (asked for: at most 4.0)" in text
    assert "**0.90 GB** at most" in text
    assert [cell.strip() for cell in text.splitlines()[6].split("|")[1:-1]] == [
        *("build_graph -> graph.tsv", "1", "6", "40.0%", "6.00", "0.5", "0.5", "2.0")
    ]


def test_few_clips_are_refused(tmp_path):
    with pytest.raises(InputError, match="clips: .* from 200 on; received .100, 600."):
        main(out=tmp_path, clips=(100, 600))
