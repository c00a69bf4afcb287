"""Which figures the page about a graph has."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.graph.statistics import SHARES, ClipGraph
from ser_nsl.reports import figures
from ser_nsl.reports.page import Plot

SETS = {"all_edges": "all edges", "training_edges": "used in training"}
"""The sets of edges that are compared, by name, and how figures call them."""

_UNLABELLED = "no emotion"


def draw_inspection(
    facts: Mapping[str, Any],
    sets: Mapping[str, ClipGraph],
    clips: pd.DataFrame,
    points: np.ndarray | None,
) -> dict[str, list[Plot]]:
    """Draws all figures.

    Args:
        facts: Facts about the graph, as in `inspection.json`.
        sets: The graph with each set of edges, by the names of `SETS`.
        clips: Clips on the map, with columns `emotion`, `speaker` and `split`.
        points: Their places on the map, shape `(clips, 2)`; None without a map.

    Returns:
        Figures by section of the page.
    """
    return {
        "edges": list(_draw_edges(sets)),
        "shares": list(_draw_shares(facts)),
        "emotions": list(_draw_emotions(facts)),
        "map": list(_draw_map(clips, points)),
    }


def _draw_edges(sets: Mapping[str, ClipGraph]) -> Iterator[Plot]:
    if not len(sets["all_edges"]):
        return
    yield Plot(
        "degrees",
        "Histograms: edges of each clip, of all edges and of those used in training.",
        figures.degree_histogram(
            "Edges of each clip", {label: sets[name].degrees for name, label in SETS.items()}
        ),
    )
    yield Plot(
        "weights",
        "Histogram: similarity of the ends of edges, all edges and those used in training.",
        figures.weight_histogram(
            "Similarity of the ends", {label: sets[name].weights for name, label in SETS.items()}
        ),
    )


def _draw_shares(facts: Mapping[str, Any]) -> Iterator[Plot]:
    sets = {
        label: {each: facts[name]["shares"][each]["share"] for each in SHARES}
        for name, label in SETS.items()
    }
    shares = pd.DataFrame(sets, dtype=float)
    shares["chance"] = pd.Series(facts["chance"], dtype=float)
    shares = shares[shares["chance"] > 0].dropna()
    if len(shares):
        yield Plot(
            "shares",
            "Bars: share of the edges that join clips of one emotion and of one speaker, each "
            "beside chance.",
            figures.edge_shares("What edges join", shares),
        )


def _draw_emotions(facts: Mapping[str, Any]) -> Iterator[Plot]:
    if not facts["labelled"] or not facts["all_edges"]["edges"]:
        return
    emotions = facts["emotions"]
    names = [name or _UNLABELLED for name in emotions["names"]]
    chance = pd.DataFrame(emotions["chance"], names, names)
    for name, label in SETS.items():
        counts = pd.DataFrame(emotions[name], names, names)
        totals = counts.sum(axis=1)
        yield Plot(
            f"emotions_{name}",
            f"Matrix: from clips of each emotion, which share of the edges, {label}, goes to "
            "clips of which, and below it the share by chance.",
            figures.shares_and_chance(
                label.capitalize(), counts.div(totals.where(totals > 0), axis=0), chance
            ),
        )


def _draw_map(clips: pd.DataFrame, points: np.ndarray | None) -> Iterator[Plot]:
    if points is None:
        return
    for column, unknown in (("emotion", _UNLABELLED), ("speaker", "unknown"), ("split", "")):
        if clips[column].any():
            yield Plot(
                f"map_{column}",
                f"Map of the clips' embeddings, coloured by {column}.",
                figures.labelled_map(f"By {column}", points, clips[column], unknown=unknown),
            )
