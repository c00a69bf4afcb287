"""The report of a sweep: one HTML page, the same in Markdown, and its numbers as JSON."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.arms import BASELINES, find_arm
from ser_nsl.pipeline.differences import Difference
from ser_nsl.pipeline.results import RESULTS_NAME, SETTINGS_NAME, read_results
from ser_nsl.pipeline.stage import StageResult
from ser_nsl.pipeline.sweep_config import load_sweep
from ser_nsl.reports.html import to_html
from ser_nsl.reports.page import Plot, page_templates
from ser_nsl.reports.sweep_facts import (
    describe_graph,
    gather_sweep_facts,
    hundredfold,
    show_closed,
    show_closed_interval,
    show_interval,
    show_tests,
)


def make_sweep_report(*, run: Path, out: Path) -> StageResult:
    """Makes the report of a sweep, finished or not.

    The same results give the same report on the same machine. A report that `out` already holds
    is replaced; its other files stay.

    Args:
        run: Folder of a sweep, as ser-nsl sweep leaves it.
        out: Folder for `report.html` (one file, figures inside), `report.md` with `figures/`,
            and `metrics.json`, which holds the numbers of both; it may be `run`.

    Returns:
        Numbers of runs, of planned ones that are missing, and of figures.

    Raises:
        InputError: If no run is done, a file is missing or malformed, or `out` cannot be written.

    Example:
        >>> made = make_sweep_report(run=Path("sweep"), out=Path("report"))  # doctest: +SKIP
        >>> made.counts  # doctest: +SKIP
        {'runs': 306, 'missing': 0, 'figures': 7}
    """
    from ser_nsl.reports.sweep_figures import draw_sweep

    start = time.monotonic()
    if (out / "stage.json").exists():
        raise InputError(f"out: {out} is the output of a stage; choose another folder.")
    results = read_results(run / RESULTS_NAME)
    if not results:
        raise InputError(f"{run / RESULTS_NAME}: holds no run; run ser-nsl sweep first.")
    if (out / "figures").exists() and not (out / "metrics.json").is_file():
        raise InputError(f"out: {out}/figures is of no report; choose another folder or move it.")
    facts = gather_sweep_facts(load_sweep(str(run / SETTINGS_NAME)), results)
    plots = draw_sweep(facts, results)
    drawn = [plot for section in plots.values() for plot in section]
    markdown = _TEMPLATES.get_template("sweep_report.md.j2").render(facts | {"plots": plots})
    pages = {
        "report.md": markdown,
        "report.html": to_html(markdown, drawn),
        "metrics.json": json.dumps(_metrics(facts), indent=1, allow_nan=False) + "\n",
    }
    _publish(out, pages, drawn)
    counts = {"runs": len(results), "missing": facts["missing"], "figures": len(drawn)}
    return StageResult("make_sweep_report", out, counts, round(time.monotonic() - start, 3))


def _metrics(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the pages, as plain data without paths of the machine."""
    config = facts["config"]
    kept = (
        "runs",
        "planned",
        "missing",
        "classes",
        "seeds",
        "folds",
        "joined",
        "grids",
        "durations",
    )
    return {
        "name": config.name,
        "title": config.title,
        "caution": config.caution,
        "training": asdict(config.training),
        **{name: facts[name] for name in kept},
        "comparisons": [asdict(each) for each in facts["comparisons"]],
        "baselines": [asdict(each) for each in facts["baselines"]],
        "trials": config.budget,
        "tests": facts["tests"],
        "warnings": [warning for section in facts["sections"] for warning in section.warnings],
        "machine": facts["machine"],
        "ser_nsl": facts["version"],
        "versions": facts["versions"],
    }


def _publish(out: Path, pages: Mapping[str, str], plots: Sequence[Plot]) -> None:
    """Writes pages and figures whole under their names; figures of an earlier report go."""
    figures, partial = out / "figures", out / ".figures"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for plot in plots:
            (partial / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
        for name, page in pages.items():
            (out / f".{name}").write_text(page, encoding="utf-8")
        shutil.rmtree(figures, ignore_errors=True)
        partial.rename(figures)
        for name in pages:
            (out / f".{name}").replace(out / name)
    except OSError as error:
        raise InputError(
            f"out: {out} cannot be written ({error.strerror}); choose a folder you may write to."
        ) from error


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _spread(mean: float | None, sd: float | None) -> str:
    return _percent(mean) if sd is None else f"{_percent(mean)} ± {_percent(sd)}"


def _points(difference: Difference | None) -> str:
    return "" if difference is None else f"{hundredfold(difference.mean):+.1f}"


_TEMPLATES = page_templates(
    percent=_percent,
    spread=_spread,
    points=_points,
    interval=show_interval,
    tests=show_tests,
    closed=show_closed,
    closed_interval=show_closed_interval,
    graph=lambda graph: describe_graph(graph) if graph and graph[0] else "",
    arm_title=lambda method: find_arm(method).title,
    baseline_title=lambda kind: f"linear classifier on {BASELINES[kind]}",
)
