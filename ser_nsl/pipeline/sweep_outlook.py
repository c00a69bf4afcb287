"""Says what a sweep plans, what of it is done, and how long the rest will take."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from tabulate import tabulate

from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.sweep_config import SweepConfig
from ser_nsl.pipeline.sweep_run import LINEAR, Run


def describe(config: SweepConfig, runs: Sequence[Run], done: Results, workers: int) -> str:
    """Returns a table of what is planned, what is done, and how long the rest will take."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.network, run.method, run.n or "", f"{run.label_share:g}"].append(run)
    rows = [
        (
            *kind,
            *(_progress([run for run in own if run.test == test], done) for test in (False, True)),
            hours_left(config, own, done, workers),
        )
        for kind, own in [*groups.items(), (("all", "", "", ""), runs)]
    ]
    headers = ("network", "arm", "n", "labels", "trials", "tests", "hours left")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _progress(runs: Sequence[Run], done: Results) -> str:
    return f"{sum(run in done for run in runs)} of {len(runs)}" if runs else ""


def hours_left(config: SweepConfig, runs: Sequence[Run], done: Results, workers: int) -> str:
    """Returns how many hours the runs that are not done will take, "unknown" if none is similar.

    An epoch takes as long as those of similar runs, and a run that tests has at most the epochs of
    the longest trial.
    """
    seconds = defaultdict(list)
    for run, result in done.items():
        seconds[_kind(run)].append(result["seconds"] / max(1, result["epochs"]))
    epochs = {name: config.trial_training(name).epochs for name in config.budget}
    most, left = max(epochs.values()), 0.0
    for run in runs:
        if run in done:
            continue
        if _kind(run) not in seconds:
            return "unknown"
        times = 1 if run.network == LINEAR else epochs.get(run.trial, most)
        left += times * median(seconds[_kind(run)])
    return f"{left / workers / 3600:.1f}"


def _kind(run: Run) -> tuple:
    """What the duration of an epoch depends on."""
    kind = run.method if run.network == LINEAR else run.neighbors
    return run.corpus, run.network, kind, run.label_share, run.n
