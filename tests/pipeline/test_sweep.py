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

from ser_nsl.audio.examples import UNLABELLED
from ser_nsl.audio.features import Description, extract_features
from ser_nsl.audio.records import read_embeddings, read_labels
from ser_nsl.corpora.labels import known_labels
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline import sweep as module
from ser_nsl.pipeline import sweep_processes, train_and_score
from ser_nsl.pipeline.choice import choose
from ser_nsl.pipeline.commands import make_report
from ser_nsl.pipeline.comparison import compare
from ser_nsl.pipeline.plan_folds import plan_folds, sweep_training
from ser_nsl.pipeline.results import add_result, read_results
from ser_nsl.pipeline.sweep import run_sweep
from ser_nsl.pipeline.sweep_config import Fold, Grid, list_runs
from ser_nsl.pipeline.sweep_run import LINEAR, WITHOUT_GRAPH
from ser_nsl.training.data import training_clips
from ser_nsl.training.settings import TeachingConfig, TrainingConfig


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """All runs of the tiny sweep, with what they share."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, run_sweep(tiny, folder, grids=["all"], work=folder / "work", workers=2)


@pytest.mark.slow
def test_folds_share_features_and_embeddings(swept, tiny, tmp_path):
    """Each clip is embedded once, with the bytes that the fold alone would have given."""
    work = swept[0] / "work"
    records = [json.loads(path.read_text()) for path in work.rglob("stage.json")]
    for stage in ("extract_features", "extract_embeddings", "extract_mfccs"):
        (counts,) = (record["counts"] for record in records if record["stage"] == stage)
        assert [counts[split] for split in ("train", "val", "test")] == [24, 6, 6]
    fold = work / "fold1"
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
    assert swept[1].splitlines()[-1].split() == ["all", "10", "of", "10", "6", "of", "6", "0.0"]


@pytest.mark.slow
def test_scores_are_those_of_the_test_speakers(swept):
    for run, result in results_of(swept).items():
        assert 0 <= result["val_uar"] <= 1
        assert result["seconds"] > 0
        assert ("uar" in result) == run.test
        assert ("purity" in result) == (run.n > 0)
        found = result["predictions"]
        splits = {"val": run.network != LINEAR, "test": run.test}
        assert {*found} == {split for split, scored in splits.items() if scored}
        if run.method == "purity_50":
            assert result["purity"] == pytest.approx(0.5, abs=0.1)
        if run.test:
            assert [*result["speakers"]] == ["03", "04"]
            confusion = np.array(result["confusion_matrix"])
            assert confusion.sum() == result["clips"] == 12
            counted = np.zeros_like(confusion)
            np.add.at(counted, tuple(np.transpose([*found["test"].values()])), 1)
            assert (counted == confusion).all()
            recalls = confusion.diagonal() / confusion.sum(axis=1)
            assert result["uar"] == pytest.approx(recalls.mean())
            mean = np.mean([each["uar"] for each in result["speakers"].values()])
            assert result["uar"] == pytest.approx(mean)  # every speaker has as many of each


@pytest.mark.slow
def test_the_test_is_the_chosen_trial_stopped_where_validation_was_best(swept, tiny):
    results = results_of(swept)
    choices = choose(results, list_runs(tiny))

    tests = [run for run in results if run.test and run.network != LINEAR]
    assert len(tests) == 3
    for run in tests:
        result, choice = results[run], choices[run.setting]
        assert (result["chosen"], result["epochs"]) == (choice.trial, choice.epochs)
        assert result["kept_epoch"] == choice.epochs
        trial = results[replace(run, trial=choice.trial)]  # of the only seed and fold
        assert result["curve"] == trial["curve"][: choice.epochs]
        assert result["curve"][-1] == max(
            max(results[replace(run, trial=name)]["curve"]) for name in tiny.trials
        )


def test_test_speakers_are_scored_with_one_choice(tiny, tmp_path):
    *_, base, _, _ = list_runs(tiny)
    for name in tiny.trials:
        curve = [0.5, 0.6] if name == "fast" else [0.4, 0.3]
        add_result(tmp_path / "runs.jsonl", replace(base, trial=name), trained(curve=curve))
    done = trained(chosen="plain", epochs=1)
    add_result(tmp_path / "runs.jsonl", base, done)

    with pytest.raises(InputError, match=r"base .*'plain' after 1 .*'fast' after 2 .*--out"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work", dry_run=True)


def trained(**values) -> dict:
    return {"seconds": 10.0, "epochs": 2, "steps": 3, "curve": [0.5, 0.5], "chosen": ""} | values


def test_validation_speakers_who_lack_an_emotion_are_refused(tone_corpus, tiny, tmp_path):
    """Before anything is decoded; a choice by them would not see that emotion."""
    table = tmp_path / "clips.csv"
    paths = [path.relative_to(tone_corpus) for path in sorted(tone_corpus.rglob("*.wav"))]
    rows = [f"{path},{path.parent.name},{path.stem[6:8]}\n" for path in paths]
    rows = [row for row in rows if not row.endswith("Actor_02,05\n")]
    table.write_text("".join(["path,speaker,emotion\n", *rows]))
    target = replace(tiny.target, corpus="csv", table=table)
    folds = [Fold(("Actor_01",), ("Actor_03",)), Fold(("Actor_01",), ("Actor_02",))]
    sweep = replace(tiny, target=target, folds=folds)

    with pytest.raises(InputError, match=r"fold 1 no validation speaker \(Actor_02\) .*'05'"):
        run_sweep(sweep, tmp_path / "out", work=tmp_path / "work", dry_run=True)


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
    assert right("upstream_random_3") < 0.8


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
    (run,) = (each for each in list_runs(tiny) if each.method == "nsl" and each.test)
    training = sweep_training(tiny, run)
    unknown = dict.fromkeys(read_labels(plan.features(), "train"), UNLABELLED)

    assert train_and_score._purity(plan, training) == results_of(swept)[run]["purity"]
    monkeypatch.setattr(train_and_score, "read_labels", lambda *_: unknown)
    assert train_and_score._purity(plan, training) is None


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
    monkeypatch.setattr(module, "_RUNS_A_PROCESS", 5)  # and processes are renewed
    grid = Grid(
        arms=("base", "paper", "pseudo_labels", "propagated", "random_propagated"),
        networks=("cnn6",),
        neighbors=("packed",),
        label_shares=(0.5,),
        seeds=(0,),
    )
    sweep = replace(
        tiny,
        folds=[Fold(split=SplitConfig(method="leave-one-speaker-out", fold=2))],
        graph=GraphConfig(similarity_threshold="auto", target_degree=3),
        joined=True,
        training=replace(tiny.training, batch_size=8),
        grids={"test": grid},
        default=("test",),
        trials={},
    )

    run_sweep(sweep, tmp_path, work=tmp_path / "work")

    results = read_results(tmp_path / "runs.jsonl")
    alone, joined = (results[run] for run in list_runs(sweep) if run.method == "paper")
    assert "val_uar" in alone
    assert "uar" not in alone
    assert joined.keys() >= {"uar", "purity"}
    assert joined.keys() & {"val_uar", "curve"} == set()
    (choice,) = (
        own for each, own in choose(results, list_runs(sweep)).items() if each.method == "paper"
    )
    assert joined["kept_epoch"] == joined["epochs"] == choice.epochs
    assert joined["steps"] > alone["steps"]
    folder = tmp_path / "work" / "fold0"
    trained = [
        {*read_labels(folder / name / "paper_3", "train")} for name in ("training", "training-val")
    ]
    of_split = {split: {*read_labels(folder / "features", split)} for split in ("train", "val")}
    assert trained == [of_split["train"], of_split["train"] | of_split["val"]]
    comparison = next(
        each for each in compare(results, list_runs(sweep)) if each.setting.method == "paper"
    )
    assert (comparison.uar, comparison.choice) == (joined["uar"], choice)

    # Pseudo-labels stand for validation clips where these train, and only there.
    filled = folder / "pseudo_labels"
    true = {split: read_labels(folder / "features", split) for split in ("train", "val")}
    assert read_labels(filled / "probe_0.5_0", "val") == true["val"]
    every = true["train"] | true["val"]
    known = known_labels([*every], np.array([*every.values()]), 0.5, seed=0)
    probed = read_embeddings(folder / "probe_0.5_0-val", ["train", "val"])
    assert read_labels(filled / "probe_0.5_0-val", "train", "val") == {
        each: probed[each].argmax() if label == UNLABELLED else label
        for each, label in zip(every, known, strict=True)
    }
    linear = [own for run, own in results.items() if run.network == LINEAR]
    assert len(linear) == 3
    assert all("uar" in own and "val_uar" not in own for own in linear)

    make_report(run=tmp_path)
    html, markdown = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
    for page in (html, markdown):
        assert "linear classifiers among them, those of validation train too" in page
        assert "those of validation speakers too, once these have chosen how strongly" in page
        assert "`propagated`" in page or "<code>propagated</code>" in page


KILLED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from ser_nsl.pipeline.sweep_processes import _prepare_worker
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
    """By epochs of the same kind, which take longer where labels are hidden; else it is unknown."""
    grid = replace(tiny.grids["main"], arms=("nsl",), label_shares=(0.5, 1.0), seeds=())
    few = replace(tiny, grids={"main": grid}, trials={"short": {"epochs": 1}})
    for run, seconds in zip(list_runs(few), (3_600, 1_800), strict=True):
        add_result(tmp_path / "runs.jsonl", run, trained(seconds=seconds, epochs=1))
    longer = {"short": {"epochs": 1}, "long": {"epochs": 2}}
    more = replace(few, trials=longer)

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


def test_a_training_that_fails_does_not_stop_the_others(tiny, tmp_path, monkeypatch):
    def train(config, run, work, choice):
        if run.method == "base":  # it comes first
            raise InputError("the loss is inf")
        return trained(val_uar=0.5, uar=0.5, chosen=choice.trial if choice else "")

    monkeypatch.setattr(module, "_prepare", lambda *_: None)
    monkeypatch.setattr(sweep_processes, "_processes", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(sweep_processes, "train_and_score", train)
    sweep = replace(tiny, trials={})

    with pytest.raises(InputError, match=r"1 of 9 .*cnn6, base, fold 1, seed 0: the loss is inf"):
        run_sweep(sweep, tmp_path, work=tmp_path / "work")
    done = read_results(tmp_path / "runs.jsonl")
    assert [run.method for run in done if run.test and run.network != LINEAR] == ["nsl", "random"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_ways_to_learn_from_the_upstream(tiny, tone_corpus, tmp_path):
    """What all read is made; two of them train, one after it was taught on other speech."""
    speech = tmp_path / "speech"
    shutil.copytree(tone_corpus, speech)
    sweep = replace(
        tiny,
        speech=(speech,),
        teaching=TeachingConfig(epochs=1, batch_size=4, window_seconds=0.5),
        layers=(1,),
        graph=GraphConfig(similarity_threshold=0.0),
        training=TrainingConfig(epochs=1),
    )
    (trial,) = {run for run in list_runs(tiny) if run.method == "nsl" and run.trial == "plain"}
    names = ("n", "alpha", "layer", "distance", "neighbors")
    plain = replace(trial, **dict(zip(names, WITHOUT_GRAPH, strict=True)), label_share=0.5)
    runs = [
        *(replace(plain, method=name) for name in ("propagated", "start_embedding")),
        *(replace(plain, method=name) for name in ("similarity", "random_propagated")),
        replace(trial, method="random_paper"),
    ]

    tf.config.run_functions_eagerly(True)  # a few steps take less time than to trace them
    try:
        module._prepare(sweep, runs, tmp_path / "work")
        results = [
            train_and_score.train_and_score(sweep, run, tmp_path / "work") for run in runs[:2]
        ]
    finally:
        tf.config.run_functions_eagerly(False)

    assert [len(result["curve"]) for result in results] == [1, 1]
    taught = json.loads((tmp_path / "work/fold0/taught/cnn6_frames/stage.json").read_text())
    assert taught["counts"]["clips"] == 32


def test_taught_starts_without_speech_are_refused_before_anything_is_made(tiny, tmp_path):
    grid = replace(tiny.grids["main"], arms=("base", "start_base"))
    sweep = replace(tiny, grids={"main": grid})

    with pytest.raises(InputError, match="speech: .*folders of speech"):
        run_sweep(sweep, tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.fixture
def failing(monkeypatch):
    """Returns a function that lets every training fail, in threads in place of processes."""

    def fail_with(error: Exception) -> list:
        tried = []

        def fail(config, run, work, choice):
            tried.append(run)
            raise error

        monkeypatch.setattr(module, "_prepare", lambda *_: None)
        monkeypatch.setattr(sweep_processes, "_processes", lambda *_: ThreadPoolExecutor(1))
        monkeypatch.setattr(sweep_processes, "train_and_score", fail)
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

    with pytest.raises(InputError, match=f"9 of 12 .*fold 1, seed 0: {reason}"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")
    assert tried == list_runs(tiny)[:9]  # nothing is chosen without trials


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
