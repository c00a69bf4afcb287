"""Runs an experiment: all stages of its plan that are not up to date, then the report."""

import json
from pathlib import Path

from tabulate import tabulate

from ser_nsl.pipeline.experiment import Experiment
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.plan import check_corpus, check_layers
from ser_nsl.pipeline.plan_run import exportable_models, plan_run
from ser_nsl.pipeline.results import EXPERIMENT_NAME, result_table, summarize
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.steps import Step, pending, run_steps
from ser_nsl.reports.run import make_report
from ser_nsl.training.train import check_networks
from ser_nsl.upstream.windows import find_speech


def run_pipeline(experiment: Experiment, run: Path, *, dry_run: bool = False) -> str:
    """Runs the stages that are not up to date.

    Args:
        experiment: The experiment.
        run: Folder for everything that it makes.
        dry_run: Whether to return only what was found in the corpora, and what would run.

    Returns:
        The plan (`dry_run`), or the result table and the places of the results.

    Raises:
        InputError: As the stages, or if another process runs in the folder; what needs no decoding
            and no training is found first, in a dry run too.

    Example:
        >>> from dataclasses import replace
        >>> from ser_nsl.pipeline import load_experiment
        >>> experiment = replace(load_experiment("smoke"), starts={})
        >>> plan = run_pipeline(experiment, Path("run"), dry_run=True)
        >>> for line in plan.splitlines()[2:4]:
        ...     print(line)
        make_synthetic_corpus  will run  run/target/audio
        prepare_corpus         will run  run/target/manifest.csv
    """
    centers = experiment.center is not None
    layers = [experiment.training.layer] if "nsl" in experiment.methods else []
    starts, seconds = experiment.starts, experiment.clip_seconds
    check_networks(experiment.networks, layers, experiment.front_end, seconds, starts)
    check_layers(experiment)
    if experiment.speech:
        find_speech(experiment.speech)
    across = experiment.has_graph and experiment.graph.across_speakers
    reading = check_corpus(experiment.target, centers=centers, across_speakers=across)
    found = {experiment.target.audio_dir: reading}
    if experiment.learns and experiment.source is not None:
        found[experiment.source.audio_dir] = check_corpus(experiment.source, centers=False)
    steps = plan_run(experiment, run)
    if dry_run:
        said = [f"{folder}: {reading}" for folder, reading in found.items() if reading is not None]
        return "\n".join([*said, _describe_plan(steps, run)])
    with locked(run / EXPERIMENT_NAME):
        save_settings(experiment, run / EXPERIMENT_NAME)
        run_steps(steps)
        make_report(run=run, out=run / "report")  # always: it is quick and measures latency again
    return _describe_results(experiment, run)


def _describe_plan(steps: list[Step], run: Path) -> str:
    rows = [
        (step.function.__name__, "will run" if waits else "up to date", step.out)
        for step, waits in zip(steps, pending(steps), strict=True)
    ]
    rows.append((make_report.__name__, "will run", run / "report"))
    return tabulate(rows, headers=("stage", "", "output"))


def _describe_results(experiment: Experiment, run: Path) -> str:
    table = tabulate(result_table(summarize(run)), headers="keys", disable_numparse=True)
    lines = ["", f"{experiment.title}: test split", table, ""]
    if exportable_models(experiment, run):
        lines.append(f"recogniser  {run / 'recogniser.tflite'}")
    lines.append(f"report      {run / 'report' / 'report.html'}")
    facts = json.loads((run / "report" / "metrics.json").read_text())
    lines += [f"warning     {sentence}" for sentence in facts["trust"]["warnings"]]
    if experiment.caution:
        lines.append(f"note        {experiment.caution}")
    return "\n".join(lines)
