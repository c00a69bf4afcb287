"""Which figures the report of a run has."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ser_nsl.pipeline.arms import ARMS
from ser_nsl.pipeline.record import require_record
from ser_nsl.reports import figures
from ser_nsl.reports.page import Plot

_CURVES = {
    "uar": "UAR in training",
    "val_uar": "UAR in validation",
    "loss": "Loss in training",
    "val_loss": "Loss in validation",
    "scaled_graph_loss": "Graph's part of the training loss",
}


def draw_run(
    run: Path, models: pd.DataFrame, facts: Mapping[str, Any]
) -> dict[str, dict[str, list[Plot]]]:
    """Draws all figures.

    Args:
        run: Folder of the run.
        models: What `read_scores` returns.
        facts: What `gather_facts` returns.

    Returns:
        Figures by section of the page and, within it, by network (`""` for the graph).
    """
    plots: dict[str, dict[str, list[Plot]]] = {
        "graph": {"": [*_draw_graph(facts["graph"])]} if facts["graph"] else {},
        "curves": {},
        "confusion": {},
    }
    for network, group in models.groupby("network"):
        labels = {
            method: group[group["method"] == method].set_index("seed")["label"]
            for method in ARMS
            if method in set(group["method"])
        }
        plots["curves"][network] = [*_draw_curves(run, network, labels, len(facts["classes"]))]
        plots["confusion"][network] = [*_draw_confusion(network, labels, facts)]
    return plots


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
            figures.edge_shares("What edges join", shares),
        )
    degrees = {
        name: [degree for degree, clips in edges["clips_by_degree"].items() for _ in range(clips)]
        for name, edges in sets.items()
    }
    yield Plot(
        "graph_degrees",
        f"Histograms: edges per clip, of all edges and of {nearest}.",
        figures.degree_histogram("Edges per clip", degrees),
    )


def _draw_curves(
    run: Path, network: str, labels: Mapping[str, pd.Series], classes: int
) -> Iterator[Plot]:
    histories, kept = {}, {}
    for method, of_seed in labels.items():
        folders = {seed: run / "models" / label for seed, label in of_seed.items()}
        histories[method] = {seed: _read_history(folder) for seed, folder in folders.items()}
        kept[method] = {
            seed: require_record(folder)["counts"]["kept_epoch"] for seed, folder in folders.items()
        }
    for key, title in _CURVES.items():
        curves = {
            method: pd.DataFrame({seed: history[key] for seed, history in seeds.items()})
            for method, seeds in histories.items()
            if all(key in history for history in seeds.values())
        }
        if curves:
            chance = 1 / classes if key.endswith("uar") else None
            yield Plot(
                f"{network}_{key}",
                f"Curves over the epochs: {title}, {' and '.join(curves)}.",
                figures.learning_curve(title, curves, kept, chance=chance),
            )


def _read_history(model: Path) -> pd.DataFrame:
    """One row an epoch, from 1."""
    history = pd.DataFrame(json.loads((model / "history.json").read_text()))
    return history.set_axis(history.index + 1)


def _draw_confusion(
    network: str, labels: Mapping[str, pd.Series], facts: Mapping[str, Any]
) -> Iterator[Plot]:
    """One matrix a method, the sum over seeds."""
    for method, of_seed in labels.items():
        counts = np.sum([facts["confusion_matrices"][label] for label in of_seed], axis=0)
        yield Plot(
            f"{network}_confusion_{method}",
            f"Confusion matrix of {network} trained with {ARMS[method].title}: rows true, columns "
            "recognised.",
            figures.confusion_matrix(method, counts, facts["classes"]),
        )
