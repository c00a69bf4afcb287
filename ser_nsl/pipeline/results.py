"""The result table of a run: means over seeds, with their spread."""

import itertools
import json
from pathlib import Path

import pandas as pd

from ser_nsl.errors import InputError
from ser_nsl.pipeline.experiment import load_experiment

EXPERIMENT_NAME = "experiment.yaml"


def model_label(network: str, method: str, seed: int) -> str:
    """Name of a model's folder and result file in a run."""
    return f"{network}-{method}-seed{seed}"


def read_results(run: Path) -> pd.DataFrame:
    """Reads the scores of the models of a run's experiment.

    What an earlier experiment left in the folder is not of them.

    Args:
        run: Folder of a run.

    Returns:
        One row a model: `label`, `network`, `method`, `seed`, `uar`, `accuracy`, `clips`, and
        `p_uar`, the one-tailed z-test against `base` of the same seed (NaN without).

    Raises:
        InputError: If a model has no result.
    """
    if not (run / EXPERIMENT_NAME).is_file():
        raise InputError(
            f"{run}: holds no {EXPERIMENT_NAME}, so it is no run; run tools/run_pipeline.py first."
        )
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    rows = []
    for network, method, seed in itertools.product(
        experiment.networks, experiment.methods, experiment.seeds
    ):
        label = model_label(network, method, seed)
        path = run / "results" / f"{label}.json"
        if not path.is_file():
            raise InputError(
                f"{run}: has no result of {label}; run tools/run_pipeline.py until it ends."
            )
        scores = json.loads(path.read_text())
        rows.append(
            {
                "label": label,
                "network": network,
                "method": method,
                "seed": seed,
                "uar": scores["uar"],
                "accuracy": scores["accuracy"],
                "clips": scores["clips"],
                "p_uar": scores.get("p_better", {}).get("uar", float("nan")),
            }
        )
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
