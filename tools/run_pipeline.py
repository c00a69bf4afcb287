"""Runs all stages of an experiment, in order."""

from pathlib import Path
from typing import Annotated

import tyro

from ser_nsl.cli import run
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.run import run_pipeline


def main(
    *,
    config: str = "smoke",
    upstream: str | None = None,
    out: Path | None = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = (),
    dry_run: bool = False,
) -> str:
    """Runs all stages of an experiment, in order; stages that are up to date are skipped.

    Args:
        config: Name of an experiment of ser_nsl/pipeline/configs, or path of a YAML file.
        upstream: Another wav2vec 2.0 than the experiment's, to be fine-tuned on its source: a hub
            name, e.g. facebook/wav2vec2-base, or a checkpoint's folder.
        out: Folder of the run; runs/NAME by default.
        overrides: Settings to change, e.g. training.epochs=5 "seeds=[0,1]".
        dry_run: Print the plan and do nothing.
    """
    experiment = load_experiment(config, overrides, upstream=upstream)
    return run_pipeline(experiment, out or Path("runs") / experiment.name, dry_run=dry_run)


if __name__ == "__main__":
    run(main)
