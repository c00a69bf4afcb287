"""A run folder made by hand, small enough to check every number of its report on paper."""

import io
import json
import re
import shlex
import shutil
import zipfile
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf

from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.commands import make_report as make_report_command
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.reports.facts import gather_facts, repeat_command
from ser_nsl.reports.figures import drawing
from ser_nsl.reports.run import make_report
from ser_nsl.training.settings import AugmentationConfig
from ser_nsl.upstream.settings import FineTuningConfig, HeadConfig
from tests.reports.page import Page

CLIP_SAMPLES = 160  # 10 ms at 16 kHz
CLASSES = ["anger", "joy"]
TRAIN = ["a1,anger,s1", "a2,anger,s2", "j1,joy,s1", "j2,joy,s2", "j3,joy,s3"]
# Of the ten pairs of these clips 4 have one emotion, 2 one speaker; of the 8 pairs between
# speakers 4 have one emotion.
EDGES = [("a1", "a2", 0.99), ("a1", "j1", 0.95), ("a2", "j1", 0.92)]
UAR = {"base": {0: 0.5, 1: 0.6}, "nsl": {0: 0.58, 1: 0.7}}


@pytest.fixture(scope="module")
def tflite() -> bytes:
    """Two probabilities from a waveform, with labels and settings behind the model."""
    recognise = tf.function(
        lambda waveform: tf.nn.softmax(waveform[:, :2]),
        input_signature=[tf.TensorSpec((1, CLIP_SAMPLES), tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([recognise.get_concrete_function()])
    file = io.BytesIO(converter.convert())
    settings = {
        "format_version": 1,
        "name": "Tiny",
        "sample_rate_hz": 16_000,
        "clip_samples": CLIP_SAMPLES,
    }
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "\n".join(CLASSES))
        archive.writestr("recogniser.json", json.dumps(settings))
    return file.getvalue()


def experiment(folder: Path) -> Experiment:
    return Experiment(
        name="tiny",
        title="Tiny <& sure>",
        source=CorpusConfig("ravdess", audio_dir=folder / "secret" / "ravdess"),
        target=CorpusConfig("emodb", audio_dir=folder / "secret" / "emodb"),
        finetuning=FineTuningConfig(),
        graph=GraphConfig(max_neighbors=1),
        seeds=(0, 1),
        caution="Do not trust this.",
    )


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_record(path: Path, stage: str, counts: dict, settings: dict, **paths: Path) -> None:
    record = {
        "stage": stage,
        "version": "9.8.7",
        "settings": settings,
        "inputs": dict.fromkeys(paths, "a hash"),
        "paths": {key: str(value) for key, value in paths.items()},
        "versions": {"python": "3.11.0"},
        "counts": counts,
        "seconds": 1.5,
    }
    write_json(path, record)


def write_manifest(path: Path, train: list[str]) -> None:
    lines = ["utterance_id,emotion,speaker,split"]
    lines += [f"{clip},train" for clip in train]
    lines += ["v,anger,s8,val", "t1,anger,s9,test", "t2,joy,s9,test"]
    table = pd.read_csv(io.StringIO("\n".join(lines)), keep_default_na=False)
    table = table.assign(path="x.wav", gender="", duration_seconds=1.0, corpus="tiny")
    path.parent.mkdir(parents=True)
    table.to_csv(path, index=False)
    write_record(path.with_name("manifest.csv.stage.json"), "prepare_corpus", {"dropped": []}, {})


def write_model(run: Path, method: str, seed: int, uar: float) -> None:
    label = f"cnn_tdnn-{method}-seed{seed}"
    history = [
        {"loss": 2.0, "uar": 0.4, "val_loss": 2.5, "val_uar": 0.3},
        {"loss": 1.0 + seed, "uar": 0.8, "val_loss": 1.5, "val_uar": 0.6},
    ]
    if method == "nsl":
        history = [epoch | {"scaled_graph_loss": 0.1} for epoch in history]
    write_json(run / "models" / label / "history.json", history)
    settings = {"model": "cnn_tdnn", "method": method, "training": {"seed": seed}}
    record = run / "models" / label / "stage.json"
    write_record(record, "train_downstream", {"kept_epoch": 2}, settings, features=run)
    scores = {
        "clips": 1200,
        "uar": uar,
        "accuracy": 0.5,
        "confusion_matrix": [[1, 3], [0, 4]],
        "classes": CLASSES,
    }
    scores["predictions"] = {"t1": "anger", "t2": "anger" if method == "base" else "joy"}
    if method != "base":
        scores["p_better"] = {"uar": (0.21, 0.0004)[seed]}
    write_json(run / "results" / f"{label}.json", scores)


def write_run(run: Path, tflite: bytes | None, *, uar=UAR, train=TRAIN, edges=EDGES) -> Path:
    """Writes what the report reads of a finished run."""
    run.mkdir(parents=True)
    seeds = tuple(next(iter(uar.values())))
    made = replace(experiment(run), methods=tuple(uar), seeds=seeds)
    save_settings(made, run / "experiment.yaml")
    for corpus in ("source", "target"):
        write_manifest(run / corpus / "manifest.csv", train)
    upstream = run / "upstream" / "finetuned"
    write_json(upstream / "history.json", [{"loss": 1, "val_uar": u} for u in (0.25, 0.75)])
    counts = {"parameters": 12_345, "kept_epoch": 2}
    write_record(upstream / "stage.json", "finetune_upstream", counts, {}, manifest=run)
    (run / "graph").mkdir()
    both_ways = [*edges, *((b, a, weight) for a, b, weight in edges)]
    (run / "graph" / "graph.tsv").write_text(
        "".join(f"{a}\t{b}\t{weight}\n" for a, b, weight in both_ways)
    )
    settings = {"splits": ["train"]}
    counts = {"builder": "official", "similarity_threshold": 0.875}
    write_record(
        run / "graph" / "graph.tsv.stage.json", "build_graph", counts, settings, embeddings=run
    )
    for method, scores in uar.items():
        for seed, score in scores.items():
            write_model(run, method, seed, score)
    for kind, score in (("mfcc", 0.75), ("upstream", 0.5), ("both", 0.5)):
        scores = {"clips": 2, "uar": score, "accuracy": score, "classes": CLASSES}
        scores |= {"train_uar": 1.0, "val_uar": 0.5, "predictions": {"t1": "joy", "t2": "joy"}}
        write_json(run / "results" / f"baseline-{kind}.json", scores)
    if tflite is not None:
        (run / "recogniser.tflite").write_bytes(tflite)
        counts = {
            "bytes": 1_234_567,
            "operators": ["SOFTMAX"],
            "clips": 2,
            "largest_difference": 1.6e-6,
            "mean_difference": 1e-7,
            "label_agreement": 1.0,
        }
        model = run / "chosen"
        write_record(
            run / "recogniser.tflite.stage.json", "export_tflite", counts, {}, model_dir=model
        )
        chosen = {"model": "cnn_tdnn-nsl-seed0", "val_uar": "60.0%"}
        write_record(model / "stage.json", "choose_model", chosen, {})
    return run


@pytest.fixture(scope="module")
def run(tflite, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tiny", tflite)


@pytest.fixture(scope="module")
def report(run) -> Path:
    make_report(run=run, out=run / "report")
    return run / "report"


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch):
    """Figures are drawn but not written, except in `report`."""
    monkeypatch.setattr(drawing, "to_svg", lambda figure, **_: "<svg/>")


def read(report: Path) -> tuple[str, str, dict]:
    metrics = json.loads((report / "metrics.json").read_text())
    return (report / "report.html").read_text(), (report / "report.md").read_text(), metrics


def row_of(page: str, name: str) -> list[str]:
    """Cells of a Markdown table's row."""
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_results(report):
    html, markdown, metrics = read(report)
    base, nsl = metrics["results"]

    for page in (html, markdown):
        for number in (
            "55.0 ± 7.1",
            "64.0 ± 8.5",
            "50.0 ± 0.0",
            "+9.0",
            "<0.001 to 0.210",
            "1,200",
        ):
            assert number in unescape(page)
    assert "by chance it is 50.0%" in markdown
    assert (base["uar_mean"], base["uar_gain"], base["p_uar"]) == (0.55, None, None)
    assert nsl["uar_mean"] == pytest.approx(0.64)
    assert nsl["uar_sd"] == pytest.approx(0.06 * 2**0.5)
    assert nsl["uar_gain"] == pytest.approx(0.09)
    assert nsl["p_uar"] == [0.0004, 0.21]
    assert nsl["uar_by_seed"] == [0.58, 0.7]


def test_trust(report):
    html, markdown, metrics = read(report)

    warning = "cnn_tdnn base (55.0% UAR) is below the baseline: a linear classifier on MFCC"
    assert warning in markdown and warning in html
    assert "| cnn_tdnn nsl | 64.0% | – | 80.0% | 60.0% | s9 100.0% |" in markdown
    assert row_of(markdown, "linear classifier on MFCC statistics")[:4] == [
        *("75.0%", "–", "100.0%", "50.0%")
    ]
    assert "| cnn_tdnn nsl | cnn_tdnn base | +9.0 | 1.000 | – |" in markdown
    assert [each["against"] for each in metrics["trust"]["tests"]] == [
        *("cnn_tdnn base", *["linear classifier on MFCC statistics"] * 2)
    ]


def test_graph(report):
    html, markdown, metrics = read(report)
    graph = metrics["graph"]
    across = "Join one emotion, among edges between two speakers"

    assert row_of(markdown, "Edges") == ["3", "2", ""]
    assert row_of(markdown, "Clips without an edge") == ["2", "2", ""]
    assert row_of(markdown, "Edges per clip: mean, most") == ["1.2, 2", "0.8, 2", ""]
    assert row_of(markdown, "Join one emotion") == ["33.3%", "50.0%", "40.0%"]
    assert row_of(markdown, "Join one speaker") == ["33.3%", "50.0%", "20.0%"]
    assert row_of(markdown, across) == ["50.0%", "100.0%", "50.0%"]
    assert "33.3%" in html
    assert graph["all_edges"]["clips_by_degree"] == {"0": 2, "2": 3}
    assert graph["training_edges"]["clips_by_degree"] == {"0": 2, "1": 2, "2": 1}
    assert graph["chance"]["within_speaker"] == 0.2
    assert "at least 0.875, except pairs that the official builder's hashing" in markdown


def test_setting(report):
    html, markdown, metrics = read(report)

    assert "RAVDESS" in html and "EmoDB" in html
    assert "balanced, seed 0 | 5, 3 speakers | 1, 1 speaker | 2, 1 speaker |" in markdown
    assert "Seeds: 0, 1" in markdown
    assert "repeated to the length of the longest, 16,000 Hz, log Mel of 64 bands" in markdown
    assert "12,345 parameters trained on the source, epoch 2 of 2 kept" in markdown
    assert "validation split is 75.0% over 2 classes" in markdown
    assert "ser_nsl 9.8.7, python 3.11.0" in markdown
    assert f"{metrics['machine']['cpu']}, {metrics['machine']['cores']} cores" in markdown
    assert metrics["machine"]["cores"] > 0
    assert "ser-nsl run-pipeline --config tiny.yaml" in html
    assert "| `train_downstream` | 4 | 1.5 | 6.0 |" in markdown


def test_head_on_a_frozen_encoder(tmp_path):
    run = write_run(tmp_path / "run", None)
    made = load_experiment(str(run / "experiment.yaml"))
    save_settings(replace(made, finetuning=None, head=HeadConfig()), run / "experiment.yaml")
    counts = {"layers": "2+3", "val_uar": "70.0%"}
    write_record(run / "upstream" / "head" / "stage.json", "train_head", counts, {}, manifest=run)

    for text in map(unescape, read(make_report(run=run, out=run / "report").out)[:2]):
        assert "an emotion head trained on the source, on layers 2+3 of the frozen encoder" in text
        assert "validation split is 70.0% over 2 classes" in text
        assert "parameters trained" not in text


def test_what_networks_start_from_and_hear(tmp_path, report):
    assert all("starts from" not in text and ", clips " not in text for text in read(report)[:2])
    run = write_run(tmp_path / "run", None)
    made = load_experiment(str(run / "experiment.yaml"))
    heard = AugmentationConfig(time_shift_frames=20, band_masks=2)
    training = replace(made.training, augmentation=heard, label_share=0.25)
    changed = replace(
        made,
        finetuning=None,
        layers=(2, 3),
        copies=2,
        starts={"cnn_tdnn": tmp_path / "taught", "vgg15": Path("other")},
        training=training,
    )
    save_settings(changed, run / "experiment.yaml")

    for text in map(unescape, read(make_report(run=run, out=run / "report").out)[:2]):
        assert "With each method, cnn_tdnn starts from PATH/TO/taught, not from random" in text
        assert "vgg15" not in text
        assert "models/whisper-base-lower; layers 2, 3, mean and deviation over time" in text
        assert (
            "Adam from 0.001, with the labels of 25.0% of the training clips, fc1 and fc2 alone in "
            "the first 8, clips rolled by up to 20 frames, 2 masks of bands, themselves or one of "
            "2 damaged copies, graph weight" in text
        )
    at_once = replace(training, head_epochs=0)
    save_settings(replace(changed, training=at_once), run / "experiment.yaml")
    markdown = read(make_report(run=run, out=run / "report").out)[1]
    assert "fc1 and fc2 alone" not in markdown


def test_recogniser(report):
    html, markdown, metrics = read(report)
    facts = metrics["recogniser"]

    assert "1.23 MB" in html and "1.23 MB" in markdown
    assert "made from cnn_tdnn-nsl-seed0, which validated best; 0.01 s of raw audio" in markdown
    assert facts["labels"] == CLASSES
    assert 0 < facts["latency_ms_median"] <= facts["latency_ms_p95"]
    assert facts["real_time_factor"] == pytest.approx(facts["latency_ms_median"] / 1000 / 0.01)
    assert re.match(r"(ai-edge-litert|tflite-runtime) \d", facts["runtime"])


def test_title_and_caution(report):
    for page in read(report)[:2]:
        assert 0 < page.index("Do not trust this.") < page.index("Results on the test split")
    assert "<h1>Tiny &lt;&amp; sure&gt;</h1>" in read(report)[0]


def test_page_loads_nothing(report):
    html = read(report)[0]
    page = Page(html)

    assert page.loads_nothing()
    assert len(page.addresses) == len(list((report / "figures").iterdir())) == 9
    assert "url(" not in html and "@import" not in html


def test_markdown_shows_every_figure(report):
    links = re.findall(r"!\[[^]]+\]\((.+?)\)", read(report)[1])

    assert {report / link for link in links} == set((report / "figures").iterdir())


def test_no_path_of_the_machine(tflite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "tiny", tflite)
    make_report(run=Path("runs/tiny"), out=Path("runs/tiny/report"))

    for path in (tmp_path / "runs" / "tiny" / "report").rglob("*.*"):
        text = path.read_text()
        assert str(tmp_path) not in text, path
        assert "secret" not in text, path
        assert not re.search(r"/(home|Users)/", text), path


def test_same_run_same_report(run, report, tmp_path):
    """But for the latency; unfinished work has no part in it."""
    killed = tmp_path / "run"
    shutil.copytree(run, killed)
    write_json(killed / "models" / ".cnn6.partial" / "stage.json", {"stage": "train_downstream"})

    make_report(run=killed, out=tmp_path / "again")

    first, second = read(report)[2], read(tmp_path / "again")[2]
    assert first["stages"]
    assert first | {"recogniser": None} == second | {"recogniser": None}


def test_exact_graph_without_edges(tmp_path):
    run = write_run(tmp_path / "run", None, edges=[])
    record = run / "graph" / "graph.tsv.stage.json"
    record.write_text(record.read_text().replace('"official"', '"exact"'))

    make_report(run=run, out=run / "report")

    _, markdown, metrics = read(run / "report")
    assert "hashing" not in markdown
    assert row_of(markdown, "Join one emotion") == ["–", "–", "40.0%"]
    assert metrics["graph"]["all_edges"]["clips_by_degree"] == {"0": 5}
    assert not (run / "report" / "figures" / "graph_shares.svg").exists()


def test_one_seed_one_method_no_recogniser(tmp_path):
    run = write_run(tmp_path / "run", None, uar={"add": {0: 0.5}})
    result = make_report_command(run=run)
    html, markdown, metrics = read(run / "report")

    assert result.out == run / "report"
    assert "±" not in html + markdown
    assert "With one seed the spread between trainings is unknown." in markdown
    assert "less that of base" not in markdown
    assert "This run exported none" in html and metrics["recogniser"] is None
    assert metrics["results"][0]["uar_sd"] is None
    assert not list(run.glob("report/figures/*scaled_graph_loss*"))


def test_no_word_of_a_graph_where_no_method_has_one(tmp_path):
    run = write_run(tmp_path / "run", None, uar={"base": {0: 0.5}})
    shutil.rmtree(run / "graph")

    make_report(run=run, out=run / "report")

    html, markdown, metrics = read(run / "report")
    assert "graph" not in markdown.lower()
    assert "The graph" not in html and metrics["graph"] is None


def test_clips_without_speaker_or_label_are_like_no_other(tmp_path):
    train = ["a1,anger,", "a2,anger,", "j1,,", "j2,joy,", "j3,,"]
    graph = gather_facts(write_run(tmp_path / "run", None, train=train))["graph"]

    assert graph["chance"]["within_speaker"] == 0
    assert graph["all_edges"]["shares"]["within_speaker"] == 0
    assert graph["chance"]["within_class"] == 0.1  # a1 and a2


def test_command_repeats_the_run(tmp_path):
    def command(*overrides):
        return repeat_command(load_experiment("smoke", overrides))

    changed = command("seeds=[3,4]", "training.alpha=0.5", "target.leave_out=[fear]")
    overrides = shlex.split(changed)[5:]

    assert command() == "ser-nsl run-pipeline --config smoke"
    assert changed.startswith("ser-nsl run-pipeline --config smoke --set ")
    assert load_experiment("smoke", overrides) == load_experiment(
        "smoke", ["seeds=[3,4]", "training.alpha=0.5", "target.leave_out=[fear]"]
    )
    assert command(f"upstream={tmp_path}/w2v").endswith(" --set upstream=PATH/TO/w2v")


def test_run_without_results(tmp_path):
    with pytest.raises(InputError, match="is no run; run ser-nsl run-pipeline"):
        make_report(run=tmp_path, out=tmp_path / "report")


def test_unfinished_run(tmp_path):
    run = write_run(tmp_path / "run", None)
    (run / "graph" / "graph.tsv.stage.json").unlink()
    with pytest.raises(InputError, match=r"graph.tsv.stage.json is missing"):
        make_report(run=run, out=run / "report")
    assert not (run / "report").exists()
