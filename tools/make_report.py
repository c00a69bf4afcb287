"""Makes the report of a finished run or of a sweep: report.html, report.md and metrics.json."""

from pathlib import Path

from ser_nsl.cli import run as run_script
from ser_nsl.pipeline.results import RESULTS_NAME
from ser_nsl.pipeline.stage import StageResult
from ser_nsl.reports.run import make_report
from ser_nsl.reports.sweep import make_sweep_report


def main(*, run: Path, out: Path | None = None) -> StageResult:
    """Makes the report of a finished run, or of a sweep as far as it is done.

    Args:
        run: Folder of a run, as tools/run_pipeline.py leaves it, or of a sweep, as tools/sweep.py
            does.
        out: Folder for report.html, report.md and metrics.json; by default RUN/report for a run,
            RUN itself for a sweep.
    """
    if (run / RESULTS_NAME).is_file():
        return make_sweep_report(run=run, out=out or run)
    return make_report(run=run, out=out or run / "report")


if __name__ == "__main__":
    run_script(main)
