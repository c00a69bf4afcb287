import json
from dataclasses import replace
from pathlib import Path

import pytest

from ser_nsl.audio.records import has_split
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig, SyntheticConfig
from ser_nsl.edge import Recognizer
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.plan import exported_model, plan, run_pipeline
from ser_nsl.pipeline.stage import read_record
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.upstream.settings import FineTuningConfig, PretrainingConfig, SmallUpstreamConfig

# A man and a woman for each split.
SPEECH = SyntheticConfig(speakers=6, clips_per_emotion=1)
TINY = Experiment(
    name="tiny",
    title="Tiny",
    source=CorpusConfig("ravdess", synthetic=SPEECH),
    target=CorpusConfig("demos", synthetic=SPEECH),
    small_upstream=SmallUpstreamConfig(hidden_size=16, layers=1, channels=8),
    finetuning=FineTuningConfig(epochs=1, clip_seconds=0.3, freeze_feature_encoder=False),
    clip_seconds=0.6,
    front_end=FrontEndConfig(mel_bins=16),
    graph=GraphConfig(similarity_threshold=0.5),
    networks=("cnn6",),
    training=TrainingConfig(epochs=1),
    caution="Nothing can be learnt here.",
)

BEFORE_TRAINING = [
    "source/audio",
    "source/manifest.csv",
    "target/audio",
    "target/manifest.csv",
    "upstream/random",
    "upstream/finetuned",
    "features",
    "embeddings",
    "graph/graph.tsv",
    "training",
]
FROM_TRAINING_ON = [
    "models/cnn6-base-seed0",
    "results/cnn6-base-seed0.json",
    "models/cnn6-nsl-seed0",
    "results/cnn6-nsl-seed0.json",
    "recogniser.tflite",
]


def planned(experiment: Experiment, run: Path) -> dict[str, bool]:
    """Whether each output is up to date, as a dry run tells it."""
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


def test_whole_chain_on_synthetic_speech(tmp_path, capsys):
    pytest.importorskip("espeakng_loader")
    run = tmp_path / "run"

    assert planned(TINY, run) == dict.fromkeys(BEFORE_TRAINING + FROM_TRAINING_ON, False)
    assert not run.exists()

    summary = run_pipeline(TINY, run)

    # What DESIGN.md promises, each with its record.
    for out in BEFORE_TRAINING + FROM_TRAINING_ON:
        assert (run / out).exists(), out
        assert read_record(run / out) is not None, out
    for folder, splits in {
        "features": ("train", "val", "test"),
        "embeddings": ("train",),
        "training": ("train",),
    }.items():
        assert all(has_split(run / folder, split) for split in splits)
    assert not has_split(run / "embeddings", "test")
    for model in ("base", "nsl"):
        names = {path.name for path in (run / f"models/cnn6-{model}-seed0").iterdir()}
        assert names == {
            *("model.h5", "last.weights.h5", "description.json", "history.json", "logs"),
            "stage.json",
        }
    recogniser = Recognizer(run / "recogniser.tflite")
    assert set(recogniser.labels) == {
        *("anger", "disgust", "fear", "guilt", "happiness", "sadness", "surprise")
    }
    assert read_record(run / "recogniser.tflite")["paths"]["model_dir"].endswith("cnn6-nsl-seed0")
    assert "p_better" in json.loads((run / "results/cnn6-nsl-seed0.json").read_text())
    assert "Tiny: test split" in summary
    assert TINY.caution in summary
    assert (run / "report" / "report.html").is_file()
    assert load_experiment(str(run / "experiment.yaml")) == TINY

    # Again: nothing to do.
    before = snapshot(run)
    capsys.readouterr()
    run_pipeline(TINY, run)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert all(line.endswith(": up to date") for line in lines)
    again = snapshot(run)
    assert remade(before, again, run) == set()

    # Settings decide what is made again.
    longer = replace(TINY, training=replace(TINY.training, epochs=2))
    expected = dict.fromkeys(BEFORE_TRAINING, True) | dict.fromkeys(FROM_TRAINING_ON, False)
    assert planned(longer, run) == expected
    stronger = replace(TINY, training=replace(TINY.training, alpha=2.0))
    changed = {"models/cnn6-nsl-seed0", "results/cnn6-nsl-seed0.json", "recogniser.tflite"}
    assert {out for out, current in planned(stronger, run).items() if not current} == changed
    sparser = replace(TINY, graph=replace(TINY.graph, similarity_threshold=0.6))
    changed |= {"graph/graph.tsv", "training"}
    assert {out for out, current in planned(sparser, run).items() if not current} == changed
    assert snapshot(run) == again

    run_pipeline(longer, run)
    assert remade(again, snapshot(run), run) == set(FROM_TRAINING_ON)
    assert read_record(run / "models/cnn6-nsl-seed0")["counts"]["epochs"] == 2

    # So do files: a clip that has changed makes all anew that comes after it.
    clip = min((run / "target" / "audio").rglob("*.wav"))
    clip.write_bytes(clip.read_bytes()[:-2] + b"\1\1")
    untouched = {"source/audio", "source/manifest.csv", "target/audio"}
    untouched |= {"upstream/random", "upstream/finetuned"}
    assert {out for out, current in planned(longer, run).items() if current} == untouched


def test_plan_of_transfer_learning(tmp_path):
    experiment = replace(
        TINY,
        source=CorpusConfig("ravdess", audio_dir=Path("clips")),
        upstream="facebook/wav2vec2-base",
        methods=("max", "base"),
        networks=("cnn6", "vgg15"),
        seeds=(3, 4),
    )

    steps = {str(step.out.relative_to(tmp_path)): step for step in plan(experiment, tmp_path)}

    assert "source/audio" not in steps
    assert steps["source/manifest.csv"].arguments["audio_dir"] == Path("clips")
    assert "upstream/random" not in steps
    assert steps["upstream/finetuned"].arguments["upstream"] == "facebook/wav2vec2-base"
    assert steps["embeddings"].arguments["splits"] == ("train", "val", "test")
    assert [out for out in steps if out.startswith("models")] == [
        f"models/{network}-{method}-seed{seed}"
        for network in ("cnn6", "vgg15")
        for seed in (3, 4)
        for method in ("base", "max")
    ]
    training = steps["models/vgg15-max-seed4"].arguments
    assert (training["model"], training["method"], training["training"].seed) == ("vgg15", "max", 4)
    assert training["embeddings"] == tmp_path / "embeddings"
    assert training["training_records"] is None
    scoring = steps["results/vgg15-max-seed4.json"].arguments
    assert scoring["model_dir"] == training["out"]
    assert scoring["compare_with"] == tmp_path / "results/vgg15-base-seed4.json"
    assert steps["results/vgg15-base-seed4.json"].arguments["compare_with"] is None
    assert steps["recogniser.tflite"].arguments["model_dir"].name == "cnn6-base-seed3"


def test_plan_of_an_upstream_that_has_learned_before(tmp_path):
    experiment = replace(TINY, upstream="mini", finetuning=None, center="speaker")

    steps = {str(step.out.relative_to(tmp_path)): step for step in plan(experiment, tmp_path)}

    assert not [out for out in steps if out.startswith(("source", "upstream"))]
    assert steps["uncentered"].arguments["upstream"] == "mini"
    assert steps["embeddings"].arguments["embeddings"] == tmp_path / "uncentered"
    assert steps["embeddings"].arguments["by"] == "speaker"
    assert steps["graph/graph.tsv"].arguments["embeddings"] == tmp_path / "embeddings"


def test_plan_of_a_probe(tmp_path):
    graph = replace(TINY.graph, likeness="probe", across_speakers=True)
    experiment = replace(TINY, graph=graph, center="speaker")

    steps = {str(step.out.relative_to(tmp_path)): step for step in plan(experiment, tmp_path)}

    likeness = tmp_path / "likeness"
    fused = (tmp_path / "embeddings", likeness / "mfcc")
    assert steps["likeness/fused"].arguments["embeddings"] == fused
    assert steps["likeness/probe"].arguments["embeddings"] == likeness / "fused"
    assert steps["graph/all.tsv"].arguments["embeddings"] == likeness / "probe"
    assert steps["graph/graph.tsv"].arguments["across_speakers"]
    assert steps["training"].arguments["graph"] == tmp_path / "graph" / "graph.tsv"


@pytest.mark.parametrize(("likeness", "embeddings"), [("mfcc", "mfcc"), ("fused", "fused")])
def test_plan_of_another_likeness(likeness, embeddings, tmp_path):
    experiment = replace(TINY, graph=replace(TINY.graph, likeness=likeness))

    steps = {str(step.out.relative_to(tmp_path)): step for step in plan(experiment, tmp_path)}

    assert steps["graph/graph.tsv"].arguments["embeddings"] == tmp_path / "likeness" / embeddings
    assert "likeness/uncentered" not in steps


def test_plan_of_a_large_graph(tmp_path):
    def arguments(**graph) -> tuple[dict, dict]:
        steps = plan(replace(TINY, graph=replace(TINY.graph, **graph)), tmp_path)
        by_name = {step.function.__name__: step.arguments for step in steps}
        return by_name["build_graph"], by_name["pack_neighbors"]

    build, pack = arguments()
    assert (build["builder"], build["max_neighbors"]) == ("auto", None)
    assert (pack["form"], pack["max_neighbors"]) == ("auto", 3)
    build, pack = arguments(builder="exact", edges="nearest", packing="indexed", max_neighbors=6)
    assert (build["builder"], build["max_neighbors"]) == ("exact", 6)
    assert (pack["form"], pack["max_neighbors"]) == ("indexed", 6)


def test_plan_of_adaptation(tmp_path):
    experiment = replace(TINY, upstream="mini", adaptation=PretrainingConfig(epochs=3))
    manifests = {name: tmp_path / name / "manifest.csv" for name in ("source", "target")}

    steps = {str(step.out.relative_to(tmp_path)): step for step in plan(experiment, tmp_path)}

    adapted = steps["upstream/adapted"].arguments
    assert adapted["audio"] == (manifests["target"], manifests["source"])
    assert (adapted["upstream"], adapted["config"].epochs) == ("mini", 3)
    assert steps["upstream/finetuned"].arguments["upstream"] == str(adapted["out"])
    with pytest.raises(ValueError, match="finetuning must be given where there is adaptation"):
        replace(experiment, finetuning=None)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("base", "nsl"), "cnn6-nsl-seed0"),
        (("base", "add"), "cnn6-base-seed0"),
        (("nsl",), "cnn6-nsl-seed0"),
        (("add", "max"), None),
    ],
)
def test_exported_model_needs_no_upstream(methods, expected, tmp_path):
    experiment = replace(TINY, methods=methods)

    found = exported_model(experiment, tmp_path)

    assert (found and found.name) == expected
    exports = [step for step in plan(experiment, tmp_path) if "recogniser" in step.out.name]
    assert [step.arguments["model_dir"] for step in exports] == ([found] if found else [])
