"""Sweeps of tiny trainings, run for real."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

from ser_nsl.audio.features import Description, extract_features
from ser_nsl.audio.records import UNLABELLED, read_embeddings, read_labels
from ser_nsl.corpora.labels import known_labels
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline import sweep as module
from ser_nsl.pipeline.comparison import compare
from ser_nsl.pipeline.experiment import Fold, Grid, list_runs, load_sweep
from ser_nsl.pipeline.plan import plan_folds, sweep_training
from ser_nsl.pipeline.results import add_result, read_results
from ser_nsl.pipeline.sweep import run_sweep, train_and_score
from ser_nsl.training.data import training_clips


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """All runs of the tiny sweep, with what they share."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, run_sweep(tiny, folder, grids=["all"], work=folder / "work", workers=2)


@pytest.mark.slow
def test_folds_share_features_and_embeddings(tiny, tmp_path):
    """Each clip is embedded once, with the bytes that the fold alone would have given."""
    grid = Grid(arms=("fused",), networks=("cnn6",), seeds=(0,))
    runs = list_runs(replace(tiny, grids={"main": grid}, default=("main",)))

    module._prepare(tiny, runs, tmp_path)

    records = [json.loads(path.read_text()) for path in tmp_path.rglob("stage.json")]
    for stage in ("extract_features", "extract_embeddings", "extract_mfccs"):
        (counts,) = (record["counts"] for record in records if record["stage"] == stage)
        assert [counts[split] for split in ("train", "val", "test")] == [24, 6, 6]
    fold = tmp_path / "fold1"
    assert {each.split("-")[-1] for each in read_labels(fold / "features", "test")} == {"03", "04"}
    direct = tmp_path / "direct"
    extract_features(
        manifest=fold / "target" / "manifest.csv",
        out=direct,
        front_end=tiny.front_end,
        clip_seconds=tiny.clip_seconds,
    )
    for path in direct.iterdir():
        if path.name != "stage.json":
            assert (fold / "features" / path.name).read_bytes() == path.read_bytes()


def results_of(swept) -> dict:
    return read_results(swept[0] / "runs.jsonl")


@pytest.mark.slow
def test_one_line_a_run(swept, tiny):
    assert set(results_of(swept)) == set(list_runs(tiny, ["all"]))
    assert swept[1].splitlines()[-1].split() == ["all", "5", "5", "0.0"]


@pytest.mark.slow
def test_scores_are_those_of_the_test_speakers(swept):
    for run, result in results_of(swept).items():
        assert 0 <= result["val_uar"] <= 1
        assert result["seconds"] > 0
        assert ("uar" in result) == run.test
        assert ("purity" in result) == (run.n > 0)
        if run.method == "purity_50":
            assert result["purity"] == pytest.approx(0.5, abs=0.1)
        if run.test:
            assert [*result["speakers"]] == ["03", "04"]
            confusion = np.array(result["confusion_matrix"])
            assert confusion.sum() == result["clips"] == 12
            recalls = confusion.diagonal() / confusion.sum(axis=1)
            assert result["uar"] == pytest.approx(recalls.mean())
            mean = np.mean([each["uar"] for each in result["speakers"].values()])
            assert result["uar"] == pytest.approx(mean)  # every speaker has as many of each


@pytest.mark.slow
def test_graphs_are_those_of_the_arms(swept):
    folder = swept[0] / "work" / "fold1"
    description = Description.load(folder / "features")
    labels = read_labels(folder / "features", "train")

    def right(graph: str) -> float:
        clips = training_clips(
            folder / "training" / graph, ("train",), description, neighbors=2, source="bank"
        )
        own = np.array([labels[each] for each in clips.ids])
        assert [*own] == [*clips.labels]
        edges = clips.weights > 0
        speaker = np.array([each.split("-")[-1] for each in clips.ids])
        others = speaker[clips.neighbors] != speaker[:, np.newaxis]
        assert others[edges].all()
        return (own[clips.neighbors] == own[:, np.newaxis])[edges].mean()

    assert right("upstream_oracle_50_2") == pytest.approx(0.5, abs=0.1)
    assert right("upstream_random_2") < 0.8


@pytest.mark.slow
def test_pseudo_labels_are_the_probe_s_where_none_is_known(swept):
    folder = swept[0] / "work" / "fold1"
    probed = read_embeddings(folder / "probe_0.5_0", ["train"])
    filled = read_labels(folder / "pseudo_labels" / "probe_0.5_0", "train")
    true = read_labels(folder / "features", "train")
    known = known_labels([*true], np.array([*true.values()]), 0.5, seed=0)

    assert 0 < (known == UNLABELLED).sum() < len(known)
    for (utterance_id, label), own in zip(true.items(), known, strict=True):
        expected = probed[utterance_id].argmax() if own == UNLABELLED else label
        assert filled[utterance_id] == expected
    (packed,) = (folder / "training").glob("*pseudo_labels*")
    assert read_labels(packed, "train") == filled


@pytest.mark.slow
def test_purity_is_of_clips_whose_emotion_is_known(swept, tiny, monkeypatch):
    plan = plan_folds(tiny, [1], swept[0] / "work")[1]
    (run,) = (each for each in list_runs(tiny) if each.method == "nsl")
    training = sweep_training(tiny, run)
    unknown = dict.fromkeys(read_labels(plan.features(), "train"), UNLABELLED)

    assert module._purity(plan, training) == results_of(swept)[run]["purity"]
    monkeypatch.setattr(module, "read_labels", lambda *_: unknown)
    assert module._purity(plan, training) is None


@pytest.mark.slow
def test_done_runs_are_not_run_again(swept, tiny):
    folder = swept[0]
    before = (folder / "runs.jsonl").read_bytes()

    shown = run_sweep(tiny, folder, grids=["all"], work=folder / "nowhere")

    assert (folder / "runs.jsonl").read_bytes() == before
    assert not (folder / "nowhere").exists()
    assert shown == swept[1]


@pytest.mark.slow
def test_validation_speakers_join_in_for_the_test(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_RUNS_A_PROCESS", 1)  # and processes are renewed
    grid = Grid(arms=("paper",), networks=("cnn6",), neighbors=("packed",), seeds=(0,))
    sweep = replace(
        tiny,
        folds=[Fold(split=SplitConfig(method="leave-one-speaker-out", fold=2))],
        graph=GraphConfig(similarity_threshold="auto", target_degree=3),
        joined=True,
        grids={"val": replace(grid, test=False), "test": grid},
        default=("val", "test"),
    )

    run_sweep(sweep, tmp_path, work=tmp_path / "work")

    results = read_results(tmp_path / "runs.jsonl")
    alone, joined = (results[run] for run in list_runs(sweep))
    assert "val_uar" in alone
    assert "uar" not in alone
    assert joined.keys() >= {"uar", "purity"}
    assert "val_uar" not in joined
    assert joined["kept_epoch"] == tiny.training.epochs
    folder = tmp_path / "work" / "fold0"
    trained = [
        {*read_labels(folder / name / "paper_3", "train")} for name in ("training", "training-val")
    ]
    of_split = {split: {*read_labels(folder / "features", split)} for split in ("train", "val")}
    assert trained == [of_split["train"], of_split["train"] | of_split["val"]]
    comparison = compare(results, [])[0]
    assert (comparison.uar, comparison.val_uar) == (joined["uar"], alone["val_uar"])


@pytest.mark.slow
def test_processes_train_with_tensorflow_s_own_keras(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # as transformers does

    with module._processes(1, threads=1) as pool:
        model = pool.submit(eval, "__import__('tensorflow').keras.Model.__module__")
        assert model.result().startswith("keras.")


KILLED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from ser_nsl.pipeline.sweep import _prepare_worker
pool = ProcessPoolExecutor(1, get_context("spawn"), _prepare_worker, (1,))
print(pool.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed():
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    state = Path("/proc") / done.stdout.strip() / "cmdline"

    while state.exists() and state.read_bytes():  # gone, or a zombie
        time.sleep(0.1)


def test_plan_predicts_its_duration(tiny, tmp_path):
    """By runs of the same kind, which take longer where labels are hidden; else it is unknown."""
    grid = replace(tiny.grids["main"], arms=("nsl",), label_shares=(0.5, 1.0))
    for run, seconds in zip(
        list_runs(replace(tiny, grids={"main": grid})), (7_200, 3_600), strict=True
    ):
        add_result(tmp_path / "runs.jsonl", run, {"seconds": seconds})
    more = replace(tiny, grids={"main": replace(grid, seeds=(0, 1))})

    def hours(folder: Path, workers: int) -> list[str]:
        plan = run_sweep(more, folder, work=tmp_path / "work", workers=workers, dry_run=True)
        return [line.split()[-1] for line in plan.splitlines()[2:]]

    assert hours(tmp_path, 1) == ["2.0", "1.0", "3.0"]
    assert hours(tmp_path, 2) == ["1.0", "0.5", "1.5"]
    assert hours(tmp_path / "new", 1) == ["unknown"] * 3
    assert not (tmp_path / "work").exists()


def test_a_layer_that_is_not_there_is_refused_at_once(tiny, tmp_path):
    sweep = replace(tiny, grids={"main": replace(tiny.grids["main"], layers=("fc3",))})

    with pytest.raises(InputError, match="fc3"):
        run_sweep(sweep, tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_training_that_fails_does_not_stop_the_others(swept, tiny, tmp_path, monkeypatch):
    def train(config, run, work):
        if run.method == "nsl":  # it comes first
            raise InputError("the loss is inf")
        return train_and_score(config, run, work)

    monkeypatch.setattr(module, "_processes", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(module, "train_and_score", train)
    grid = replace(tiny.grids["main"], arms=("nsl", "base"))
    sweep = replace(tiny, grids={"main": grid})

    with pytest.raises(InputError, match=r"1 of 2 .*cnn6, nsl, fold 1, seed 0: the loss is inf"):
        run_sweep(sweep, tmp_path, work=swept[0] / "work")
    assert [run.method for run in read_results(tmp_path / "runs.jsonl")] == ["base"]


@pytest.fixture
def failing(monkeypatch):
    """Returns a function that lets every training fail, in threads in place of processes."""

    def fail_with(error: Exception) -> list:
        tried = []

        def fail(config, run, work):
            tried.append(run)
            raise error

        monkeypatch.setattr(module, "_prepare", lambda *_: None)
        monkeypatch.setattr(module, "_processes", lambda *_: ThreadPoolExecutor(1))
        monkeypatch.setattr(module, "train_and_score", fail)
        return tried

    return fail_with


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("rate: lower it"), "rate: lower it"),
        (BrokenProcessPool("terminated"), "memory .* fewer --workers"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "memory"),
        (tf.errors.InternalError(None, None, "cuDNN failed"), "cuDNN failed"),
    ],
)
def test_all_trainings_are_tried_though_some_fail(error, reason, failing, tiny, tmp_path):
    tried = failing(error)

    with pytest.raises(InputError, match=f"2 of 2 .*fold 1, seed 0: {reason}"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")
    assert len(tried) == len(list_runs(tiny))


def test_a_fault_of_the_program_stops_a_sweep_where_it_is(failing, tiny, tmp_path):
    failing(TypeError("of the program"))

    with pytest.raises(TypeError, match="of the program"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")


def test_no_workers_are_refused_before_anything_is_made(tiny, tmp_path):
    with pytest.raises(InputError, match="workers: .*0"):
        run_sweep(tiny, tmp_path / "out", work=tmp_path / "work", workers=0)
    assert not (tmp_path / "work").exists()


@pytest.fixture
def begun(tiny, tmp_path, failing) -> Path:
    """A sweep that has written its settings."""
    failing(InputError("stop"))
    with pytest.raises(InputError, match="stop"):
        run_sweep(tiny, tmp_path / "begun", work=tmp_path / "work")
    return tmp_path / "begun"


def test_only_what_runs_set_may_change(begun, tiny, tmp_path):
    def go_on(**training):
        other = replace(tiny, training=replace(tiny.training, **training))
        run_sweep(other, begun, work=tmp_path / "work", dry_run=True)

    go_on(alpha=3.0, distance="cosine", edges="agreeing", seed=7)
    with pytest.raises(InputError, match=r"training\.epochs: 2, not 3"):
        go_on(epochs=3)


def test_settings_newer_than_the_runs_had_their_defaults(begun, tiny, tmp_path):
    before = OmegaConf.load(begun / "sweep.yaml")
    del before.graph.embeddings, before.training.patience
    OmegaConf.save(before, begun / "sweep.yaml")

    run_sweep(tiny, begun, work=tmp_path / "work", dry_run=True)

    other = replace(tiny, training=replace(tiny.training, patience=3))
    with pytest.raises(InputError, match=r"training\.patience: 0, not 3"):
        run_sweep(other, begun, work=tmp_path / "work", dry_run=True)


@pytest.mark.parametrize("name", ["emodb", "emodb_float32", "emovo", "paper_emodb"])
def test_committed_results_can_be_gone_on_with(name, tmp_path):
    results = Path(__file__).parents[2] / "results" / f"sweep_{name}"
    shutil.copytree(results, tmp_path / name)

    config = load_sweep(str(results / "sweep.yaml"))
    plan = run_sweep(config, tmp_path / name, work=tmp_path, dry_run=True)

    *_, planned, done, hours = plan.split()
    assert (int(done), hours) == (int(planned), "0.0")
    assert {run.corpus for run in read_results(results / "runs.jsonl")} <= {"emodb", "emovo"}
    assert json.loads((results / "metrics.json").read_text())["missing"] == 0
