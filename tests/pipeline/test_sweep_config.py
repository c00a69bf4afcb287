"""Settings of sweeps, and the runs that they list."""

from dataclasses import replace

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.sweep_config import Grid, list_runs, load_sweep
from ser_nsl.pipeline.sweep_run import Run


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("default=[none]", "default: .*'none'"),
        ("grids.small.arms=[best]", "arms: 'best'"),
        ("grids.small.networks=[vgg]", "networks: 'vgg'"),
        ("grids.small.folds=[9]", r"grids\.small\.folds: .*4"),
        ("grids.small.n=[0]", "n must be .*0"),
        ("grids.small.alpha=[-1]", "alpha"),
        ("grids.small.distances=[cosin]", "distance"),
        ("grids.small.neighbors=[bach]", "neighbors"),
        ("grids.small.label_shares=[25]", "label_share"),
        ("grids.small.trial_seeds=[]", "trial_seeds"),
        (
            "grids.small_graphs.arms=[base] grids.small_graphs.folds=[0]",
            r"small_graphs: base .*once",
        ),
        ("grids.small.arms=[base,nsl]", r"'nsl' .*25% .*has no 'random'"),
        ("grids.small.arms=[nsl,random]", "'nsl' .*has no 'base'"),
        (
            "grids.small.seeds=[7]",
            r"grids\.small_graphs\.arms: 'start_nsl' .*seed 0\) has no 'base'",
        ),
        ("grids.small.arms=[base,pseudo_labels,propagated]", "no 'random_propagated'"),
        ("grids.small.arms=[base,probabilities]", "'probabilities' .*no 'pseudo_labels'"),
        (
            "trials={plain: {}, more: {alpha: 7}}",
            "'plain' and 'more' .*arms without a graph.*number of trials",
        ),
        ("trials={plain: {}, more: {}}", "'plain' and 'more'"),
        ("trials.more={copies: perhaps}", r"trials\.more: .*perhaps"),
        ("trials.more=3", "more"),
        ("trials.more={epoks: 3}", r"trials\.more: .*epoks"),
        ("trials.more={epochs: many}", r"trials\.more: .*'many'"),
        ("trials.more={augmentation: {time_masks: -1}}", r"trials\.more: time_masks .*-1"),
        ("trials.more={seed: 3}", r"trials\.more\.seed: a sweep sets it"),
        ("trials.a-b={epochs: 3}", "trials .*'a-b'"),
        ("folds=[]", "folds must be one or more"),
        ("folds=[{test: [a]}]", "folds: .*test and val"),
        ("folds=[{test: [a], val: [b], split: {}}]", "folds: .*split"),
        ("layers=[2,2]", r"layers must be .*\(2, 2\)"),
        ("pooling=max", "pooling"),
        ("speech=[corpora]", "speech: must not hold the target.*corpora/emodb"),
        ("teaching.epochs=0", "epochs must be at least 1"),
    ],
)
def test_bad_sweep_names_the_key(override, words):
    with pytest.raises(InputError, match=words):
        load_sweep("emodb", [override] if "{" in override else override.split())


def test_trials_that_differ_in_copies_alone_need_some():
    trials = "trials={plain: {}, more: {copies: false}}"

    assert len(load_sweep("emodb", [trials]).budget) == 2
    with pytest.raises(InputError, match="'plain' and 'more'"):
        load_sweep("emodb", [trials, "copies=0"])


def test_runs_of_a_grid(tiny):
    linear = Run("ravdess", 1, "linear", "mfcc", 0, 0.0, "", "", "", 1.0, 0, "")
    base = replace(linear, network="cnn6", method="base")
    nsl = Run("ravdess", 1, "cnn6", "nsl", 3, 0.1, "fc2", "cosine", "batch", 1.0, 0, "")
    arms = [base, nsl, replace(nsl, method="random")]
    assert list_runs(tiny) == [
        *(replace(linear, method=kind) for kind in ("mfcc", "upstream", "both")),
        *(replace(run, trial=trial) for run in arms for trial in ("plain", "fast")),
        *arms,
    ]
    everything = replace(tiny, grids={"main": replace(tiny.grids["main"], folds=())})
    assert [run.fold for run in list_runs(everything) if run.test][-6:] == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match="grids: 'tests' .*main, controls"):
        list_runs(tiny, ["tests"])


def test_what_a_graph_does_not_change_is_run_once(tiny):
    grid = Grid(arms=("base", "add", "paper"), n=(3, 6), alpha=(0.1, 1.0), seeds=(0, 1), folds=(0,))
    sweep = replace(tiny, grids={"many": grid, "again": grid}, default=("many",))
    runs = list_runs(sweep, ["many", "again"])

    assert runs == list_runs(sweep, ["all"])
    assert len(runs) == len(set(runs))
    tests = [run for run in runs if run.test and run.network == "cnn_tdnn"]
    assert [run.seed for run in tests] == [0] * 6 + [1] * 6
    assert sum(bool(run.trial) for run in runs) == 2 * (2 + 4)
    # What trials set is no setting of its own.
    sweep = replace(sweep, trials={"weak": {"alpha": 0.1, "epochs": 1}, "strong": {"alpha": 1.0}})
    assert {run.alpha for run in list_runs(sweep) if run.n} == {None}
    assert sum(run.test and run.n > 0 for run in list_runs(sweep)) == 2 * 2


def test_linear_classifiers_know_the_labels_of_each_seed(tiny):
    grid = Grid(arms=("base",), label_shares=(0.5, 1.0), seeds=(3, 4), folds=(0,))
    sweep = replace(tiny, grids={"main": grid})

    linear = [run for run in list_runs(sweep) if run.network == "linear" and run.method == "mfcc"]
    assert [(run.label_share, run.seed) for run in linear] == [(0.5, 3), (0.5, 4), (1.0, 3)]


@pytest.mark.parametrize("name", ["emodb", "emovo"])
def test_every_speaker_of_the_shipped_sweeps_tests_once(name):
    sweep = load_sweep(name)

    tested = [speaker for fold in sweep.folds for speaker in fold.test]
    assert len(tested) == len(set(tested)) == {"emodb": 10, "emovo": 6}[name]
    for fold in sweep.folds:
        assert not set(fold.test) & set(fold.val)
        assert set(fold.val) < set(tested)


def test_runs_of_the_papers_table():
    runs = list_runs(load_sweep("table3"))

    found = {(run.method, run.n, run.alpha, run.test) for run in runs if run.network == "vgg15"}
    systems = [(name, 0, 0.0) for name in ("base", "add", "max", "avg")]
    systems += [("paper", 3, 0.01), ("paper", 6, 0.1), ("paper", 9, 0.1)]
    assert found == {(*system, test) for system in systems for test in (False, True)}
    assert {run.network for run in runs} == {"vgg15", "resnet9", "cnn6", "linear"}
    assert {run.neighbors for run in runs if run.n} == {"packed"}


def test_runs_of_a_sweep_have_the_name_that_a_corpus_was_given(tiny):
    named = replace(tiny, target=replace(tiny.target, corpus="folder", name="calls"))

    assert {run.corpus for run in list_runs(named)} == {"calls"}
