"""Trains and scores many networks, with controls that could show that the graph does not help."""

from pathlib import Path
from typing import Annotated

import tyro

from ser_nsl.cli import run
from ser_nsl.pipeline.experiment import load_sweep
from ser_nsl.pipeline.sweep import run_sweep


def main(
    *,
    config: str,
    grids: tuple[str, ...] = (),
    out: Path | None = None,
    work: Path | None = None,
    workers: int = 1,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = (),
    dry_run: bool = False,
) -> str:
    """Trains and scores many networks; each is one line of a results file, and done but once.

    It may be stopped at any time; the same command goes on. tools/make_report.py makes tables and
    figures of the results.

    Args:
        config: Name of a sweep of ser_nsl/pipeline/configs/sweeps, or path of a YAML file.
        grids: Which grids of it: names, or all; those that suit a machine without a GPU by default.
        out: Folder of the results file runs.jsonl; results/sweep_NAME by default.
        work: Folder for what trainings share: features, embeddings, graphs; runs/sweep_NAME by
            default.
        workers: Trainings at a time; the cores are divided among them.
        overrides: Settings to change, e.g. training.epochs=5.
        dry_run: Print how many runs there are, how many are done, and how long the rest will take.
    """
    sweep = load_sweep(config, overrides)
    return run_sweep(
        sweep,
        out or Path("results") / f"sweep_{sweep.name}",
        grids=grids,
        work=work or Path("runs") / f"sweep_{sweep.name}",
        workers=workers,
        dry_run=dry_run,
    )


if __name__ == "__main__":
    run(main)
