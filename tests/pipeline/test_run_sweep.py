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

from ser_nsl.audio.features import Description
from ser_nsl.audio.records import UNLABELLED, read_embeddings, read_labels
from ser_nsl.corpora.labels import known_labels
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.evaluation.statistics import compare
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline import run_sweep as sweep_module
from ser_nsl.pipeline.folds import fold_steps
from ser_nsl.pipeline.run_sweep import run_sweep
from ser_nsl.pipeline.sweep import Fold, Grid, list_runs, load_sweep
from ser_nsl.pipeline.sweep_results import add_result, read_results
from ser_nsl.training.data import training_clips


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """All runs of the tiny sweep, in two goes."""
    folder = tmp_path_factory.mktemp("sweep")
    shown = run_sweep(tiny, folder, work=folder / "work")
    return folder, shown, run_sweep(tiny, folder, grids=["all"], work=folder / "work", workers=2)


def test_one_line_a_run(swept, tiny):
    folder, shown, _ = swept

    results = read_results(folder / "runs.jsonl")
    lines = (folder / "runs.jsonl").read_text().splitlines()
    assert set(results) == set(list_runs(tiny, ["all"]))
    assert [*results][:2] == list_runs(tiny)
    assert json.loads(lines[0])["method"] == "base"
    assert shown.splitlines()[-1].split() == ["all", "2", "2", "0.0"]


def test_scores_are_those_of_the_test_speakers(swept):
    results = read_results(swept[0] / "runs.jsonl")
    for run, result in results.items():
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


def test_guessed_labels_are_the_probe_s_where_none_is_known(swept):
    folder = swept[0] / "work" / "fold1"
    probed = read_embeddings(folder / "embeddings" / "probe_0.5_0", ["train"])
    guessed = read_labels(folder / "guessed" / "probe_0.5_0", "train")
    true = read_labels(folder / "features", "train")
    known = known_labels([*true], np.array([*true.values()]), 0.5, seed=0)

    assert 0 < (known == UNLABELLED).sum() < len(known)
    for (utterance_id, label), own in zip(true.items(), known, strict=True):
        expected = probed[utterance_id].argmax() if own == UNLABELLED else label
        assert guessed[utterance_id] == expected


def test_guessed_labels_and_a_graph_are_learned_from_together(swept):
    folder = swept[0] / "work" / "fold1"
    guessed = read_labels(folder / "guessed" / "probe_0.5_0", "train")
    packed = read_labels(folder / "training" / "probe_0.5_0_with_probe_0.5_0_2", "train")

    assert packed == guessed
    results = read_results(swept[0] / "runs.jsonl")
    (purity,) = (each["purity"] for run, each in results.items() if run.method == "guessed_probe")
    assert 0 < purity <= 1  # of true emotions


def test_validation_speakers_join_in_for_the_test(tiny, tmp_path):
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


def test_processes_are_renewed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_module, "_RUNS_A_PROCESS", 1)
    grid = replace(tiny.grids["main"], arms=("base",), seeds=(0, 1))

    run_sweep(replace(tiny, grids={"main": grid}), tmp_path, work=tmp_path / "work", workers=1)

    assert len(read_results(tmp_path / "runs.jsonl")) == 2


def test_processes_train_with_tensorflow_s_own_keras(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # as transformers does

    with sweep_module._processes(1, threads=1) as pool:
        model = pool.submit(eval, "__import__('tensorflow').keras.Model.__module__")
        assert model.result().startswith("keras.")


KILLED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from ser_nsl.pipeline.run_sweep import _prepare_worker
pool = ProcessPoolExecutor(1, get_context("spawn"), _prepare_worker, (1,))
print(pool.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_sweep_that_is_killed():
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    worker = Path("/proc") / done.stdout.strip()

    for _ in range(100):
        if not (worker / "cmdline").exists() or not (worker / "cmdline").read_bytes():
            return  # gone, or a zombie
        time.sleep(0.1)
    raise AssertionError(f"{worker} still lives")


def test_done_runs_are_not_run_again(swept, tiny):
    folder = swept[0]
    before = (folder / "runs.jsonl").read_bytes()

    shown = run_sweep(tiny, folder, grids=["all"], work=folder / "nowhere")

    assert (folder / "runs.jsonl").read_bytes() == before
    assert not (folder / "nowhere").exists()
    assert shown == swept[2]


def test_plan_predicts_its_duration(swept, tiny, tmp_path):
    more = replace(tiny.grids["main"], seeds=(0, 1))
    sweep = replace(tiny, grids={"main": more})
    results = read_results(swept[0] / "runs.jsonl")
    for run, result in results.items():
        add_result(tmp_path / "runs.jsonl", run, result | {"seconds": 3_600})

    plan = run_sweep(sweep, tmp_path, work=tmp_path / "work", workers=2, dry_run=True)
    unknown = run_sweep(sweep, tmp_path / "new", work=tmp_path / "work", dry_run=True)

    assert plan.splitlines()[-1].split() == ["all", "4", "2", "1.0"]
    assert unknown.splitlines()[-1].split() == ["all", "4", "0", "unknown"]
    assert not (tmp_path / "work").exists()


def test_plan_knows_that_hidden_labels_take_time(swept, tiny, tmp_path):
    grid = replace(tiny.grids["main"], arms=("nsl",), label_shares=(0.5, 1.0))
    few, every = list_runs(replace(tiny, grids={"main": grid}))
    (result,) = (read_results(swept[0] / "runs.jsonl")[run] for run in (every,))
    for run, seconds in ((few, 7_200), (every, 3_600)):
        add_result(tmp_path / "runs.jsonl", run, result | {"seconds": seconds})
    more = replace(tiny, grids={"main": replace(grid, seeds=(1,))})

    plan = run_sweep(more, tmp_path, work=tmp_path / "work", dry_run=True)

    assert [line.split()[-1] for line in plan.splitlines()[2:]] == ["2.0", "1.0", "3.0"]


def test_a_layer_that_is_not_there_is_refused_at_once(tiny, tmp_path):
    sweep = replace(tiny, grids={"main": replace(tiny.grids["main"], layers=("fc3",))})

    with pytest.raises(InputError, match="has no layer 'fc3'; it has"):
        run_sweep(sweep, tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_training_that_fails_does_not_stop_the_others(tiny, tmp_path):
    """A weight beyond float32 makes the loss of `nsl` infinite; it comes first."""
    grid = replace(tiny.grids["main"], arms=("nsl", "base"), alpha=(1e39,))
    sweep = replace(tiny, grids={"main": grid})

    with pytest.raises(InputError, match=r"1 of 2 trainings failed.*cnn6, nsl, fold 1, seed 0"):
        run_sweep(sweep, tmp_path, work=tmp_path / "work")
    assert [run.method for run in read_results(tmp_path / "runs.jsonl")] == ["base"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("rate: lower it"), "rate: lower it"),
        (BrokenProcessPool("terminated"), "memory ran out, .* fewer --workers"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "memory ran out"),
        (tf.errors.InternalError(None, None, "cuDNN failed"), "cuDNN failed"),
    ],
)
def test_trainings_that_cannot_go_on_do_not_stop_the_others(error, said, failing, tiny, tmp_path):
    tried = failing(error)

    with pytest.raises(InputError, match=f"of .* trainings failed; .*fold 1, seed 0: {said}"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")
    assert len(tried) == len(list_runs(tiny))


def test_a_fault_of_the_program_stops_a_sweep_where_it_is(failing, tiny, tmp_path):
    failing(TypeError("of the program"))

    with pytest.raises(TypeError, match="of the program"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")


@pytest.fixture
def failing(monkeypatch):
    """Returns a function that lets every training fail, in threads in place of processes."""

    def fail_with(error: Exception) -> list:
        tried = []

        def fail(config, run, work):
            tried.append(run)
            raise error

        monkeypatch.setattr(sweep_module, "fold_steps", lambda *_: ())
        monkeypatch.setattr(sweep_module, "_processes", lambda *_: ThreadPoolExecutor(1))
        monkeypatch.setattr(sweep_module, "train_and_score", fail)
        return tried

    return fail_with


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused_before_anything_is_made(workers, tiny, tmp_path):
    with pytest.raises(InputError, match="workers: must be at least 1"):
        run_sweep(tiny, tmp_path / "out", work=tmp_path / "work", workers=workers)
    assert not (tmp_path / "work").exists()


def test_purity_is_of_clips_whose_emotion_is_known(swept, tiny, monkeypatch):
    folder = swept[0] / "work" / "fold1"
    (run,) = (each for each in list_runs(tiny) if each.method == "nsl")
    emotions = read_labels(folder / "features", "train")
    unknown = dict.fromkeys(emotions, UNLABELLED)
    before = sweep_module._purity(tiny, folder, run, 1.0)

    monkeypatch.setattr(sweep_module, "read_labels", lambda *_: unknown)
    assert before is not None
    assert sweep_module._purity(tiny, folder, run, 1.0) is None


def test_only_what_the_arms_need_is_made(tiny, tmp_path):
    """Centring needs speakers; plain training, transfer and the paper's graph do not."""

    def made(*arms: str) -> set[str]:
        runs = list_runs(replace(tiny, grids={"main": Grid(arms=arms, folds=(0,))}))
        return {step.function.__name__ for step in fold_steps(tiny, SplitConfig(), tmp_path, runs)}

    always = {"prepare_corpus", "extract_features"}
    assert made("base") == always
    assert made("add") == always | {"extract_embeddings"}
    assert made("paper") == always | {"extract_embeddings", "build_graph", "pack_neighbors"}
    assert made("mfcc") & {"extract_embeddings", "fuse_embeddings"} == set()
    assert made("guessed") >= {"fuse_embeddings", "probe_embeddings", "pseudo_label"}


def test_other_settings_are_refused(swept, tiny):
    other = replace(tiny, training=replace(tiny.training, epochs=3))

    with pytest.raises(
        InputError, match=r"made with other settings \(training\.epochs: 2, not 3\)"
    ):
        run_sweep(other, swept[0], work=swept[0] / "work")


def test_what_runs_set_may_change(swept, tiny):
    other = replace(tiny, training=replace(tiny.training, alpha=3.0, distance="jensen_shannon"))

    run_sweep(other, swept[0], work=swept[0] / "work", dry_run=True)


def test_settings_newer_than_the_runs_had_their_defaults(swept, tiny, tmp_path):
    shutil.copytree(swept[0], tmp_path / "sweep", ignore=shutil.ignore_patterns("work"))
    path = tmp_path / "sweep" / "sweep.yaml"
    before = OmegaConf.load(path)
    del before.graph.likeness, before.training.patience
    OmegaConf.save(before, path)

    run_sweep(tiny, tmp_path / "sweep", work=tmp_path / "work", dry_run=True)

    other = replace(tiny, training=replace(tiny.training, patience=3))
    with pytest.raises(InputError, match=r"training\.patience: 0, not 3"):
        run_sweep(other, tmp_path / "sweep", work=tmp_path / "work", dry_run=True)


@pytest.mark.parametrize("name", ["emodb", "emovo"])
def test_committed_results_can_be_gone_on_with(name, tmp_path):
    results = Path(__file__).parents[2] / "results" / f"sweep_{name}"
    if not results.exists():
        pytest.skip(f"no run of {name} is committed")

    plan = run_sweep(load_sweep(name), results, work=tmp_path, dry_run=True)

    assert int(plan.split()[-2]) > 0


def test_damaged_results_are_named(tmp_path, tiny):
    (tmp_path / "runs.jsonl").write_text('{"corpus": "emodb"}\n')

    with pytest.raises(InputError, match=r"runs\.jsonl: line 1 is not one of tools/sweep\.py"):
        run_sweep(tiny, tmp_path, work=tmp_path / "work")
