"""Which figures the report of a sweep has."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.pipeline.arms import ARMS, STARTS, find_arm
from ser_nsl.pipeline.choice import choose
from ser_nsl.pipeline.comparison import Comparison
from ser_nsl.pipeline.differences import pair
from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.sweep_config import SweepConfig, list_runs
from ser_nsl.pipeline.sweep_run import WITHOUT_GRAPH, Setting
from ser_nsl.reports import figures
from ser_nsl.reports.page import Plot
from ser_nsl.reports.sweep_facts import Section

_GROUPS = {
    "arms": [name for name, arm in ARMS.items() if not arm.control and not arm.is_transfer],
    "controls": ["base", "nsl", *(name for name, arm in ARMS.items() if arm.control)],
    "starts": ["base", *(start + name for start in STARTS for name in ARMS)],
    "transfer": ["base", "nsl", *(name for name, arm in ARMS.items() if arm.is_transfer)],
}
"""Which arms stand in one figure, so that lines can be told apart."""
_MAP = ["network", "label_share", "method", "neighbors", "layer", "distance"]


def draw_sweep(facts: Mapping[str, Any], results: Results) -> dict[str, list[Plot]]:
    """Draws all figures.

    Args:
        facts: What `gather_sweep_facts` returns.
        results: Results of the sweep.

    Returns:
        Figures by section of the page.
    """
    comparisons, graph = facts["comparisons"], facts["graph"]
    confusion = _draw_confusion(facts["scored"], facts["network"], graph, facts["classes"])
    return {
        "shares": list(_draw_shares(comparisons, graph)),
        "differences": list(_draw_differences(facts["sections"])),
        "curves": list(_draw_curves(facts["sections"], facts["classes"])),
        "purity": list(_draw_purity(comparisons)),
        "confusion": list(confusion),
        "maps": list(_draw_maps(facts["config"], results)),
    }


def _draw_shares(comparisons: Sequence[Comparison], graph: tuple | None) -> Iterator[Plot]:
    """UAR over the share of labels, of networks that were trained with several shares."""
    rows = [
        asdict(each.setting) | {"mean": each.uar, "sd": each.uar_sd_of_seeds}
        for each in comparisons
        if each.runs and each.setting.graph in (graph, WITHOUT_GRAPH)
    ]
    if not rows:
        return
    table = pd.DataFrame(rows).astype({"mean": float, "sd": float})
    for network, own in table.groupby("network"):
        if own["label_share"].nunique() < 2:
            continue
        groups = {
            name: {
                arm: own[own["method"] == arm].set_index("label_share")[["mean", "sd"]]
                for arm in arms
                if arm in set(own["method"])
            }
            for name, arms in _GROUPS.items()
        }
        drawn: set[str] = set()
        for name, curves in groups.items():
            is_part = any(curves.keys() < others.keys() for others in groups.values())
            if is_part or curves.keys() <= drawn:
                continue
            drawn |= curves.keys()
            yield Plot(
                f"{network}_shares_{name}",
                f"Curves: UAR of {network} over the share of labels used, {', '.join(curves)}.",
                figures.share_curves(f"UAR of {network}: {name}", curves),
            )


def _draw_differences(sections: Sequence[Section]) -> Iterator[Plot]:
    for section in sections:
        drawn = {}
        for label, row in section.rows.items():
            found = {
                "against base": row.against_base,
                "against random": row.against_random,
                "against pseudo-labels": row.against_pseudo_labels,
            }
            points = {name: (d.mean, d.low, d.high) for name, d in found.items() if d}
            if points:
                drawn[label] = points
        share = f"{100 * section.label_share:g}"
        if drawn:
            yield Plot(
                f"{section.network}_{share}_differences",
                f"Points with intervals: differences in UAR of {section.network} at {share} % of "
                f"the labels, {', '.join(dict.fromkeys(chain(*drawn.values())))}.",
                figures.differences(f"{section.network}, {share}% of the labels", drawn),
            )


def _draw_curves(sections: Sequence[Section], classes: Sequence[str]) -> Iterator[Plot]:
    """Validation UAR against updates, of the trial that was chosen for each arm."""
    for section in sections:
        curves = {}
        for label, row in section.rows.items():
            if row.choice is not None:
                curve = row.choice.curves[row.choice.trial]
                updates = row.choice.steps * np.arange(1, len(curve) + 1)
                curves[label] = pd.Series(curve, index=updates)
        if not curves:
            continue
        chosen = {label: row.choice.epochs for label, row in section.rows.items() if row.choice}
        share = f"{100 * section.label_share:g}"
        yield Plot(
            f"{section.network}_{share}_updates",
            f"Curves: UAR of the validation speakers after so many updates, {section.network} at "
            f"{share} % of the labels, {', '.join(curves)}.",
            figures.update_curves(
                f"{section.network}, {share}% of the labels",
                curves,
                chosen,
                chance=1 / len(classes) if classes else None,
            ),
        )


def _draw_purity(comparisons: Sequence[Comparison]) -> Iterator[Plot]:
    """Gain over the purity of the graph, wherever graphs were made to a purity."""
    groups: dict[tuple, dict[str, list[float | None]]] = defaultdict(dict)
    for each in comparisons:
        setting, arm, gain = each.setting, find_arm(each.setting.method), each.against_base
        if gain and arm.has_graph and not arm.pseudo_labels and setting.method != "random_agreeing":
            key = (setting.network, setting.label_share, setting.graph)
            groups[key][setting.method] = [each.purity, gain.mean, gain.low, gain.high]
    for (network, share, graph), gains in groups.items():
        if not any(name.startswith("purity_") for name in gains):
            continue
        columns = ["purity", "mean", "low", "high"]
        table = pd.DataFrame.from_dict(gains, orient="index", columns=columns, dtype=float)
        yield Plot(
            "_".join([network, f"{100 * share:g}", "purity", *(f"{part}" for part in graph)]),
            f"Curve: gain of {network} over base at {100 * share:g} % of the labels, against the "
            "share of the graph's edges that join one emotion.",
            figures.gain_by_purity(f"{network}, {100 * share:g}% of the labels", table),
        )


def _draw_confusion(
    scored: pd.DataFrame, network: str, graph: tuple | None, classes: Sequence[str]
) -> Iterator[Plot]:
    """Of base and the graph that most runs have, at the largest share of labels of both."""
    own = scored[scored["network"] == network]
    used = own["setting"].map(lambda setting: setting.graph == graph).astype(bool)
    real = own["method"].isin([name for name, arm in ARMS.items() if arm.has_real_graph])
    if not (used & real).any():
        return
    method = own[used & real].groupby("method", sort=False).size().idxmax()
    both = {"base": own[own["method"] == "base"], method: own[used & (own["method"] == method)]}
    shares = set.intersection(*(set(runs["label_share"]) for runs in both.values()))
    if not shares:
        return
    share = max(shares)
    pairs = pair(*(runs[runs["label_share"] == share] for runs in both.values()))
    for name, runs in zip(both, pairs, strict=True):
        if runs.empty:
            return
        yield Plot(
            f"{network}_{100 * share:g}_confusion_{name}",
            f"Confusion matrix of {network}, {name} at {100 * share:g} % of the labels: rows true, "
            "columns recognised.",
            figures.confusion_matrix(
                f"{network} {name}, {100 * share:g}% of the labels",
                np.sum([*runs["confusion_matrix"]], axis=0),
                classes,
            ),
        )


def _draw_maps(config: SweepConfig, results: Results) -> Iterator[Plot]:
    """Validation UAR over n and alpha, of grids that have several of both."""
    for name, grid in config.grids.items():
        if len(grid.n) < 2 or len(grid.alpha) < 2 or "alpha" in config.tried:
            continue
        choices = choose(results, list_runs(config, [name]))
        table = pd.DataFrame(
            [asdict(setting) | {"mean": own.val_uar} for setting, own in choices.items()],
            columns=[*(each.name for each in fields(Setting)), "mean"],
        )
        table = table[table["n"] > 0]
        low, high = table["mean"].min(), table["mean"].max()
        maps = table.groupby(_MAP, sort=False)
        for (network, share, method, neighbors, layer, distance), own in maps:
            scores = own.pivot_table(index="n", columns="alpha", values="mean")
            scores = scores.rename_axis(index="neighbours n", columns="graph weight α")
            yield Plot(
                "_".join([name, network, f"{100 * share:g}", method, neighbors, layer, distance]),
                f"Map: validation UAR of {network}, {method} at {layer} ({distance}), "
                f"{100 * share:g} % of the labels, neighbours from {neighbors}, over n and alpha.",
                figures.setting_map(f"{network} {method}, {layer}", scores, low=low, high=high),
            )
