from dataclasses import replace

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.arms import find_arm
from ser_nsl.pipeline.sweep import Grid, Run, list_runs, load_sweep
from ser_nsl.training.settings import TrainingConfig


def test_runs_of_a_grid(tiny):
    runs = list_runs(tiny)

    assert runs[:2] == [
        Run("ravdess", 1, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, True),
        Run("ravdess", 1, "cnn6", "nsl", 3, 0.1, "fc2", "cosine", "batch", 1.0, 0, True),
    ]
    assert len(runs) == 2


def test_all_folds_unless_some_are_named(tiny):
    sweep = replace(tiny, grids={"main": replace(tiny.grids["main"], folds=())})

    assert [run.fold for run in list_runs(sweep)] == [0, 0, 1, 1]


def test_what_a_graph_does_not_change_is_run_once(tiny):
    grid = Grid(arms=("base", "add", "nsl"), n=(3, 6), alpha=(0.1, 1.0), seeds=(0, 1), folds=(0,))
    sweep = replace(tiny, grids={"many": grid, "again": grid}, default=("many",))
    runs = list_runs(sweep, ["many", "again"])

    assert len(runs) == len(set(runs)) == 2 * (2 + 4)
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6


def test_all_grids(tiny):
    runs = list_runs(tiny, ["all"])

    assert [run.method for run in runs if run.label_share == 0.5] == [
        "guessed",
        "guessed_probe",
        "random",
        "purity_50",
    ]
    assert len(runs) == 6


def test_probed_labels_cannot_be_joined(tiny):
    for arm in ("probe", "guessed", "guessed_fused"):
        with pytest.raises(ValueError, match="a probe reads training clips only"):
            replace(tiny, joined=True, grids={"main": Grid(arms=(arm,))})


def test_unknown_grid_is_refused(tiny):
    with pytest.raises(InputError, match="grids: 'tests' is unknown; known are main, controls"):
        list_runs(tiny, ["tests"])


@pytest.mark.parametrize("name", ["emodb", "emovo"])
def test_every_speaker_of_the_shipped_sweeps_tests_once(name):
    sweep = load_sweep(name)

    tested = [speaker for fold in sweep.folds for speaker in fold.test]
    assert len(tested) == len(set(tested)) == {"emodb": 10, "emovo": 6}[name]
    for fold in sweep.folds:
        assert not set(fold.test) & set(fold.val)
        assert set(fold.val) < set(tested)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("default=[none]", "there is no grid 'none'"),
        ("grids.full.arms=[best]", "arms: 'best' is unknown"),
        ("grids.full.networks=[vgg]", "networks: 'vgg' is unknown"),
        ("grids.full.folds=[9]", r"grids\.full\.folds: must be 0 to 4"),
        ("training.epochs=0", "epochs must be at least 1"),
        ("grids.full.n=[0]", "n must be at least 1; received 0"),
        ("grids.full.alpha=[-1]", "alpha must be 0 or more"),
        ("grids.full.distances=[cosin]", "distance must be one of"),
        ("grids.full.neighbors=[bach]", "neighbors must be one of"),
        ("grids.full.label_shares=[25]", "label_share must be above 0 and at most 1"),
        ("color=red", "color"),
        ("folds=[{test: [a]}]", "speakers of both test and val, or else a split"),
        ("folds=[{test: [a], val: [b], split: {}}]", "or else a split"),
        ("joined=true", "a probe reads training clips only"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(InputError, match=message):
        load_sweep("emodb", [override])


def test_runs_of_the_papers_table():
    runs = list_runs(load_sweep("table3"))

    found = {(run.method, run.n, run.alpha, run.test) for run in runs if run.network == "vgg15"}
    systems = [(name, 0, 0.0) for name in ("base", "add", "max", "avg")]
    systems += [("paper", 3, 0.01), ("paper", 6, 0.1), ("paper", 9, 0.1)]
    assert found == {(*system, test) for system in systems for test in (False, True)}
    assert {run.network for run in runs} == {"vgg15", "resnet9", "cnn6"}
    assert {run.neighbors for run in runs if run.n} == {"packed"}


def test_unknown_sweep_is_refused():
    with pytest.raises(InputError, match="'emo' is neither a YAML file nor one of emodb"):
        load_sweep("emo")


def test_arms_with_a_share_of_wrong_edges():
    arm = find_arm("purity_60")

    assert (arm.control, arm.purity) == ("oracle", 0.6)
    with pytest.raises(KeyError):
        find_arm("purity_101")


def test_training_s_defaults_are_those_that_the_sweeps_support():
    training, small = TrainingConfig(), load_sweep("emodb").grids["small"]

    assert (training.alpha,) == small.alpha
    assert (training.layer,) == small.layers
    assert (training.distance,) == small.distances
    assert (training.neighbors,) == small.neighbors
