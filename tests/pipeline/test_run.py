"""The whole chain of an experiment, run for real."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import has_split
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig, SyntheticConfig
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.run import run_pipeline
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.upstream.settings import FineTuningConfig

SPEECH = SyntheticConfig(speakers=6, clips_per_emotion=1)
SPLIT = SplitConfig("speaker-independent")  # a man and a woman for each split
TINY = Experiment(
    name="tiny",
    title="Tiny",
    source=CorpusConfig("ravdess", synthetic=SPEECH, split=SPLIT),
    target=CorpusConfig("demos", synthetic=SPEECH, split=SPLIT),
    finetuning=FineTuningConfig(epochs=1, clip_seconds=0.3, freeze_feature_encoder=False),
    clip_seconds=0.6,
    front_end=FrontEndConfig(mel_bins=16),
    graph=GraphConfig(similarity_threshold=0.5),
    networks=("cnn6",),
    training=TrainingConfig(epochs=1),
    caution="Nothing can be learnt here.",
)
SHIPPED_START = Path(__file__).parents[2] / "models" / "cnn_tdnn-taught"
BEFORE_TRAINING = [
    "source/audio",
    "source/manifest.csv",
    "target/audio",
    "target/manifest.csv",
    "upstream/finetuned",
    "features",
    "uncentered",
    "graph/graph.tsv",
    "training",
    "uncentered_mfcc",
    "results/baseline-mfcc.json",
    "results/baseline-upstream.json",
    "uncentered_both",
    "results/baseline-both.json",
]
FROM_TRAINING_ON = [
    "models/cnn6-base-seed0",
    "results/cnn6-base-seed0.json",
    "models/cnn6-nsl-seed0",
    "results/cnn6-nsl-seed0.json",
    "chosen",
    "recogniser.tflite",
]


def planned(experiment: Experiment, run: Path) -> dict[str, bool]:
    """Whether each output is up to date, as a dry run says."""
    _, _, *rows = run_pipeline(experiment, run, dry_run=True).splitlines()
    return {
        str(Path(row.split()[-1]).relative_to(run)): "up to date" in row
        for row in rows
        if not row.startswith("make_report")
    }


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and "report" not in path.relative_to(folder).parts
    }


def remade(before: dict, after: dict, run: Path) -> set[str]:
    """Outputs of which a file is new or was written again."""
    changed = {path.relative_to(run) for path in after if after[path] != before.get(path)}
    outs = BEFORE_TRAINING + FROM_TRAINING_ON
    return {out for out in outs if any(path.is_relative_to(out) for path in changed)}


@pytest.mark.slow
def test_whole_chain_on_synthetic_speech(small_upstream, tmp_path, capsys):
    pytest.importorskip("espeakng_loader")
    run, tiny = tmp_path / "run", replace(TINY, upstream=str(small_upstream))

    assert planned(tiny, run) == dict.fromkeys(BEFORE_TRAINING + FROM_TRAINING_ON, False)
    assert not run.exists()

    summary = run_pipeline(tiny, run)

    for out in BEFORE_TRAINING + FROM_TRAINING_ON:
        assert read_record(run / out) is not None, out
    assert has_split(run / "uncentered", "test")  # for the baseline
    assert has_split(run / "features", "test")
    recogniser = Recognizer(run / "recogniser.tflite")
    assert recogniser.labels == (
        *("anger", "disgust", "fear", "guilt", "happiness", "sadness", "surprise"),
        "no speech",
    )
    assert read_record(run / "recogniser.tflite")["paths"]["model_dir"].endswith("chosen")
    assert "p_better" in json.loads((run / "results/cnn6-nsl-seed0.json").read_text())
    assert "Tiny: test split" in summary
    assert tiny.caution in summary
    assert (run / "report" / "report.html").is_file()
    assert load_experiment(str(run / "experiment.yaml")) == tiny

    # Again: nothing to do.
    before = snapshot(run)
    capsys.readouterr()
    run_pipeline(tiny, run)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(BEFORE_TRAINING + FROM_TRAINING_ON)
    assert all(line.endswith(": up to date") for line in lines)
    assert remade(before, snapshot(run), run) == set()

    # Settings decide what is made again.
    longer = replace(tiny, training=replace(tiny.training, epochs=2))
    expected = dict.fromkeys(BEFORE_TRAINING, True) | dict.fromkeys(FROM_TRAINING_ON, False)
    assert planned(longer, run) == expected
    sparser = replace(tiny, graph=replace(tiny.graph, similarity_threshold=0.6))
    changed = {"graph/graph.tsv", "training", *FROM_TRAINING_ON[2:]}
    assert {out for out, current in planned(sparser, run).items() if not current} == changed

    run_pipeline(longer, run)
    assert remade(before, snapshot(run), run) == set(FROM_TRAINING_ON)

    # So do files: all that comes after a clip that has changed is made again.
    clip = min((run / "target" / "audio").rglob("*.wav"))
    clip.write_bytes(clip.read_bytes()[:-2] + b"\1\1")
    untouched = {"source/audio", "source/manifest.csv", "target/audio"}
    untouched |= {"upstream/finetuned"}
    assert {out for out, current in planned(longer, run).items() if current} == untouched


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ({"cnn6": Path("nowhere")}, "starts: nowhere is no folder with a taught cnn6"),
        ({"cnn7": Path("nowhere")}, "networks: 'cnn7' is unknown"),
        ({"cnn6": SHIPPED_START}, "is a cnn_tdnn, and --model is cnn6"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_anything_is_made(starts, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run_pipeline(replace(TINY, starts=starts), tmp_path / "run")
    assert not (tmp_path / "run").exists()
