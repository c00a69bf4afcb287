"""Makes the report of a finished run: report.html, report.md and metrics.json."""

from pathlib import Path

from ser_nsl.cli import run as run_script
from ser_nsl.report import make_report
from ser_nsl.stage import StageResult


def main(*, run: Path, out: Path | None = None) -> StageResult:
    """Makes the report of a finished run.

    Args:
        run: Folder of a run, as tools/run_pipeline.py leaves it.
        out: Folder for report.html, report.md and metrics.json; RUN/report by default.
    """
    return make_report(run=run, out=out or run / "report")


if __name__ == "__main__":
    run_script(main)
