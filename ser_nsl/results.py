"""The result table of a run: means over seeds, with their spread."""

import json
from pathlib import Path

import pandas as pd

from ser_nsl.errors import InputError
from ser_nsl.stage import read_record


def read_results(run: Path) -> pd.DataFrame:
    """Reads the scores of all trained models of a run.

    Args:
        run: Folder of a run.

    Returns:
        One row a model: `network`, `method`, `seed`, `uar`, `accuracy`, `clips`, and
        `p_uar`, the one-tailed z-test against `base` of the same seed (NaN for base).

    Raises:
        InputError: If the run has no results.
    """
    rows = []
    for path in sorted((run / "results").glob("*.json")):
        if path.name.endswith(".stage.json"):
            continue
        scores = json.loads(path.read_text())
        trained = read_record(run / "models" / path.stem)
        rows.append(
            {
                "network": trained["settings"]["model"],
                "method": trained["settings"]["method"],
                "seed": trained["settings"]["training"]["seed"],
                "uar": scores["uar"],
                "accuracy": scores["accuracy"],
                "clips": scores["clips"],
                "p_uar": scores.get("p_better", {}).get("uar", float("nan")),
            }
        )
    if not rows:
        raise InputError(f"{run}: has no results; run tools/run_pipeline.py first.")
    return pd.DataFrame(rows)


def result_table(run: Path) -> pd.DataFrame:
    """Sums results up for people.

    Args:
        run: Folder of a run.

    Returns:
        One row a network and method, text: UAR and accuracy as mean ± standard deviation over
        seeds in percent, the difference in UAR from `base`, seeds, clips.
    """
    results = read_results(run)
    order = {"base": 0, "nsl": 1}
    base = results[results["method"] == "base"].groupby("network")["uar"].mean()
    rows = []
    for (network, method), group in results.groupby(["network", "method"]):
        against = base.get(network)
        gain = (
            ""
            if method == "base" or against is None
            else f"{100 * (group['uar'].mean() - against):+.1f}"
        )
        rows.append(
            {
                "network": network,
                "method": method,
                "UAR %": _spread(group["uar"]),
                "accuracy %": _spread(group["accuracy"]),
                "UAR against base": gain,
                "seeds": len(group),
                "test clips": int(group["clips"].iloc[0]),
            }
        )
    rows.sort(key=lambda row: (row["network"], order.get(row["method"], 2), row["method"]))
    return pd.DataFrame(rows)


def _spread(values: pd.Series) -> str:
    mean = f"{100 * values.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * values.std():.1f}"
