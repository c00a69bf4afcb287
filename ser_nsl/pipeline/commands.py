"""The commands that run an experiment or a sweep, and report on them."""

from pathlib import Path
from typing import Annotated

import tyro

from ser_nsl.pipeline.stage import StageResult

_Overrides = Annotated[tuple[str, ...], tyro.conf.arg(name="set")]


def run_pipeline(
    *,
    config: str = "smoke",
    upstream: str | None = None,
    out: Path | None = None,
    overrides: _Overrides = (),
    dry_run: bool = False,
) -> str:
    """Runs all stages of an experiment in order; stages that are up to date are skipped.

    Args:
        config: Name of an experiment in ser_nsl/pipeline/configs, or path of a YAML file.
        upstream: Another upstream than the experiment's: a hub name, e.g. openai/whisper-base, or
            the folder of a wav2vec 2.0, a HuBERT or a Whisper. The experiment's `layers` of it
            embed clips; where it names none, the upstream learns the source corpus first, as the
            experiment says, or else by an emotion head on the frozen encoder, in minutes.
        out: Folder of the run; runs/NAME by default.
        overrides: Settings to change, e.g. training.epochs=5 "seeds=[0,1]".
        dry_run: Print the plan and do nothing.

    Returns:
        The plan, or the table of results and where they are.
    """
    from ser_nsl.pipeline.experiment import load_experiment
    from ser_nsl.pipeline.results import EXPERIMENT_NAME
    from ser_nsl.pipeline.run import run_pipeline
    from ser_nsl.pipeline.settings import check_own_file

    experiment = load_experiment(config, overrides, upstream=upstream)
    run = out or Path("runs") / experiment.name
    check_own_file(config, experiment, run / EXPERIMENT_NAME)
    return run_pipeline(experiment, run, dry_run=dry_run)


def sweep(
    *,
    config: str,
    grids: tuple[str, ...] = (),
    out: Path | None = None,
    work: Path | None = None,
    workers: int = 1,
    overrides: _Overrides = (),
    dry_run: bool = False,
) -> str:
    """Trains and scores many networks; each is one line of a results file and runs only once.

    A sweep may be stopped at any time; the same command continues it. `ser-nsl make-report` makes
    tables and figures of the results.

    Args:
        config: Name of a sweep in ser_nsl/pipeline/configs/sweeps, or path of a YAML file.
        grids: Names of its grids, or all; by default those that suit a machine without a GPU.
        out: Folder of the results file runs.jsonl; results/sweep_NAME by default.
        work: Folder for what trainings share: features, embeddings, graphs; runs/sweep_NAME by
            default.
        workers: Number of trainings at a time; the cores are divided among them.
        overrides: Settings to change, e.g. training.epochs=5.
        dry_run: Print how many runs there are, how many are done, and how long the rest will take.

    Returns:
        A table of the runs.
    """
    from ser_nsl.pipeline.results import SETTINGS_NAME
    from ser_nsl.pipeline.settings import check_own_file
    from ser_nsl.pipeline.sweep import run_sweep
    from ser_nsl.pipeline.sweep_config import load_sweep

    settings = load_sweep(config, overrides)
    results = out or Path("results") / f"sweep_{settings.name}"
    check_own_file(config, settings, results / SETTINGS_NAME)
    return run_sweep(
        settings,
        results,
        grids=grids,
        work=work or Path("runs") / f"sweep_{settings.name}",
        workers=workers,
        dry_run=dry_run,
    )


def make_report(*, run: Path, out: Path | None = None) -> StageResult:
    """Makes the report of a finished run, or of a sweep as far as it is done.

    Args:
        run: Folder of a run or of a sweep's results.
        out: Folder for report.html, report.md and metrics.json; by default RUN/report for a run,
            RUN itself for a sweep.

    Returns:
        What was made.
    """
    from ser_nsl.pipeline.results import RESULTS_NAME
    from ser_nsl.reports.run import make_report
    from ser_nsl.reports.sweep import make_sweep_report

    if (run / RESULTS_NAME).is_file():
        return make_sweep_report(run=run, out=out or run)
    return make_report(run=run, out=out or run / "report")
