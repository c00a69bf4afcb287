"""The report of a run: one HTML page, the same in Markdown, and its numbers as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_nsl.pipeline.arms import ARMS
from ser_nsl.pipeline.results import read_scores, result_table
from ser_nsl.pipeline.stage import stage
from ser_nsl.reports.facts import gather_facts
from ser_nsl.reports.html import to_html
from ser_nsl.reports.page import page_templates, percent, probability


@stage(inputs=(), makes="folder")
def make_report(*, run: Path, out: Path) -> Mapping[str, Any]:
    """Makes the report of a finished run.

    The same run gives the same report except for the latency, which is measured now. Pages and
    numbers hold no path of the machine; `stage.json` repeats `run` as it was given.

    Args:
        run: Folder of a run, as ser-nsl run-pipeline leaves it.
        out: Folder for `report.html` (one file, figures inside), `report.md` with `figures/`,
            and `metrics.json`, which holds the numbers of both.

    Returns:
        Numbers of models and figures.

    Raises:
        InputError: If the run has no results, lacks a file, or holds a malformed one.

    Example:
        >>> made = make_report(run="runs/smoke", out="report")  # doctest: +SKIP
        >>> made.counts  # doctest: +SKIP
        {'models': 4, 'figures': 9}
    """
    from ser_nsl.reports.run_figures import draw_run

    facts, models = gather_facts(run), read_scores(run)
    plots = draw_run(run, models, facts)
    drawn = [plot for section in plots.values() for group in section.values() for plot in group]
    metrics = json.dumps(facts, indent=1, allow_nan=False) + "\n"
    (out / "metrics.json").write_text(metrics, encoding="utf-8")
    (out / "figures").mkdir()
    for plot in drawn:
        (out / "figures" / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    content = facts | {
        "table": [*zip(facts["results"], result_table(facts["results"]), strict=True)],
        "seconds": _sum_seconds(facts["stages"]),
        "methods": {name: arm.title for name, arm in ARMS.items()},
        "plots": plots,
    }
    markdown = _TEMPLATES.get_template("report.md.j2").render(content)
    (out / "report.md").write_text(markdown, encoding="utf-8")
    (out / "report.html").write_text(to_html(markdown, drawn), encoding="utf-8")
    return {"models": len(models), "figures": len(drawn)}


def _sum_seconds(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wall time by stage, over all networks, methods and seeds."""
    seconds = pd.DataFrame(stages).groupby("stage", sort=False)["seconds"]
    return seconds.agg(["count", "min", "max", "sum"]).reset_index().to_dict("records")


def _speakers(corpus: Mapping[str, Any], split: str) -> str:
    count = corpus["speakers"][split]
    if corpus["clips"][split] and not count:
        return "speakers unknown"
    return "1 speaker" if count == 1 else f"{count} speakers"


_TEMPLATES = page_templates(percent=percent, probability=probability, speakers=_speakers)
