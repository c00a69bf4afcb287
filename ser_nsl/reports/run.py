"""The report of a run: one HTML page, the same in Markdown, and its numbers as JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.pipeline.results import read_results, result_table
from ser_nsl.pipeline.stage import require_record, stage
from ser_nsl.reports import figures
from ser_nsl.reports.facts import gather_facts
from ser_nsl.reports.page import Plot, page_templates

METHODS = {
    "base": "labels only",
    "nsl": "labels and graph",
    "add": "labels; fc1 plus embedding",
    "max": "labels; larger of fc1 and embedding",
    "avg": "labels; mean of fc1 and embedding",
}
"""What each method learns from, in the order of the figures."""

_EDGE_KINDS = {
    "within_class": "one emotion",
    "within_speaker": "one speaker",
    "within_class_across_speakers": "one emotion,\ntwo speakers",
}
_CURVES = {
    "uar": "UAR in training",
    "val_uar": "UAR in validation",
    "loss": "Loss in training",
    "val_loss": "Loss in validation",
    "scaled_graph_loss": "Graph's part of the training loss",
}


@stage(inputs=(), makes="folder")
def make_report(*, run: Path, out: Path) -> Mapping[str, Any]:
    """Makes the report of a finished run.

    The same run gives the same report but for the latency, which is measured now. Pages and
    numbers tell no path of the machine; `stage.json` repeats `run` as it was given.

    Args:
        run: Folder of a run, as tools/run_pipeline.py leaves it.
        out: Folder for `report.html` (one file, figures inside), `report.md` with `figures/`,
            and `metrics.json`, which holds the numbers of both.

    Returns:
        Numbers of models and figures.

    Raises:
        InputError: If the run has no results, lacks a file, or holds a malformed one.
    """
    facts = gather_facts(run)
    models = read_results(run)
    plots = {"graph": {"": list(_draw_graph(facts["graph"]))}, "curves": {}, "confusion": {}}
    for network, group in models.groupby("network"):
        plots["curves"][network] = list(_draw_curves(run, group, len(facts["classes"])))
        plots["confusion"][network] = list(_draw_confusion(group, facts))
    drawn = [plot for section in plots.values() for group in section.values() for plot in group]
    metrics = json.dumps(facts, indent=1, allow_nan=False) + "\n"
    (out / "metrics.json").write_text(metrics, encoding="utf-8")
    (out / "figures").mkdir()
    for plot in drawn:
        (out / "figures" / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    table = zip(facts["results"], result_table(run).to_dict("records"), strict=True)
    content = facts | {
        "table": list(table),
        "seconds": _sum_seconds(facts["stages"]),
        "methods": METHODS,
        "plots": plots,
    }
    for name in ("report.html", "report.md"):
        page = _TEMPLATES.get_template(f"{name}.j2").render(content)
        (out / name).write_text(page, encoding="utf-8")
    return {"models": len(models), "figures": len(drawn)}


def _draw_graph(graph: Mapping[str, Any]) -> Iterator[Plot]:
    nearest = f"the {graph['max_neighbors']} nearest"
    sets = {"all edges": graph["all_edges"], nearest: graph["training_edges"]}
    shares = pd.DataFrame({name: edges["shares"] for name, edges in sets.items()}, dtype=float)
    shares["chance"] = pd.Series(graph["chance"], dtype=float)
    shares = shares[shares["chance"] > 0].dropna()
    if len(shares):
        yield Plot(
            "graph_shares",
            "Bars: share of the edges that join clips of one emotion, of one speaker, and of one "
            "emotion among the edges between speakers, each beside chance.",
            figures.edge_shares("What edges join", shares.rename(index=_EDGE_KINDS)),
        )
    degrees = {
        name: [degree for degree, clips in edges["clips_by_degree"].items() for _ in range(clips)]
        for name, edges in sets.items()
    }
    yield Plot(
        "graph_degrees",
        f"Histograms: edges of each clip, of all edges and of {nearest}.",
        figures.degree_histogram("Edges of each clip", degrees),
    )


def _draw_curves(run: Path, models: pd.DataFrame, classes: int) -> Iterator[Plot]:
    """Curves of one network."""
    histories, kept = {}, {}
    for method in sorted(set(models["method"]), key=list(METHODS).index):
        labels = models[models["method"] == method].set_index("seed")["label"]
        histories[method] = {seed: _read_history(run, label) for seed, label in labels.items()}
        kept[method] = {seed: _kept_epoch(run, label) for seed, label in labels.items()}
    for key, title in _CURVES.items():
        curves = {
            method: pd.DataFrame({seed: history[key] for seed, history in seeds.items()})
            for method, seeds in histories.items()
            if all(key in history for history in seeds.values())
        }
        if curves:
            chance = 1 / classes if key.endswith("uar") else None
            yield Plot(
                f"{models['network'].iloc[0]}_{key}",
                f"Curves over the epochs: {title}, {' and '.join(curves)}.",
                figures.learning_curve(title, curves, kept, chance=chance),
            )


def _read_history(run: Path, label: str) -> pd.DataFrame:
    """One row an epoch, from 1."""
    history = pd.DataFrame(json.loads((run / "models" / label / "history.json").read_text()))
    return history.set_axis(history.index + 1)


def _kept_epoch(run: Path, label: str) -> int:
    return require_record(run / "models" / label)["counts"]["kept_epoch"]


def _draw_confusion(models: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[Plot]:
    """One matrix a method of one network, the sum over seeds."""
    for method in sorted(set(models["method"]), key=list(METHODS).index):
        group = models[models["method"] == method]
        network = group["network"].iloc[0]
        counts = np.sum([facts["confusion_matrices"][label] for label in group["label"]], axis=0)
        yield Plot(
            f"{network}_confusion_{method}",
            f"Confusion matrix of {network} trained with {METHODS[method]}: rows true, columns "
            "recognised.",
            figures.confusion_matrix(method, counts, facts["classes"]),
        )


def _sum_seconds(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wall time by stage, however many networks, methods and seeds a run has."""
    seconds = pd.DataFrame(stages).groupby("stage", sort=False)["seconds"]
    summary = seconds.agg(["count", "min", "max", "sum"]).reset_index()
    return summary.to_dict("records")


def _probability(value: float) -> str:
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _speakers(corpus: Mapping[str, Any], split: str) -> str:
    count = corpus["speakers"][split]
    if corpus["clips"][split] and not count:
        return "speakers unknown"
    return "1 speaker" if count == 1 else f"{count} speakers"


_TEMPLATES = page_templates(percent=_percent, probability=_probability, speakers=_speakers)
