from dataclasses import replace

import pytest

from ser_nsl.pipeline.choice import choose
from ser_nsl.pipeline.sweep_run import Run

BASE = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, "")
TRIALS = [replace(BASE, trial=trial, fold=fold) for trial in ("plain", "shifts") for fold in (0, 1)]


def test_trial_and_epoch_are_chosen_together_by_the_mean_over_folds():
    curves = [[0.5, 0.9, 0.1], [0.5, 0.1, 0.9], [0.2, 0.6, 0.3], [0.5, 0.6, 0.8]]
    results = {
        run: {"curve": curve, "steps": steps}
        for run, curve, steps in zip(TRIALS, curves, (10, 12, 10, 12), strict=True)
    }
    (choice,) = choose(results, TRIALS).values()

    assert (choice.trial, choice.epochs, choice.updates) == ("shifts", 2, 22)
    assert choice.val_uar == pytest.approx(0.6)
    assert choice.curves["plain"] == pytest.approx([0.5, 0.5, 0.5])
    assert choose(results, [*TRIALS, replace(TRIALS[0], fold=2)]) == {}  # one trial is missing


def test_equal_trials_and_epochs_are_taken_in_their_order():
    results = {run: {"curve": [0.4, 0.5, 0.5], "steps": 10} for run in TRIALS}
    (choice,) = choose(results, TRIALS).values()

    assert (choice.trial, choice.epochs) == ("plain", 2)
