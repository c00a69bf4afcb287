"""Reads the results of a run (`results/LABEL.json`) and of a sweep (`runs.jsonl`)."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from ser_nsl.errors import InputError
from ser_nsl.pipeline.experiment import Run, load_experiment

EXPERIMENT_NAME = "experiment.yaml"
"""Settings of a run, in its folder."""
RESULTS_NAME = "runs.jsonl"
"""Results of a sweep, in its folder: one line of JSON a run."""
SETTINGS_NAME = "sweep.yaml"
"""Settings of a sweep, in its folder."""

Results = dict[Run, dict[str, Any]]
"""Results of a sweep by run: `val_uar`, `kept_epoch`, `seconds`, and where test speakers are scored
`uar`, `accuracy`, `confusion_matrix`, and `speakers`, from speaker to `uar` and `clips`."""


def model_label(network: str, method: str, seed: int) -> str:
    """Returns the name of a model's folder and result file in a run."""
    return f"{network}-{method}-seed{seed}"


def read_scores(run: Path) -> pd.DataFrame:
    """Reads the scores of the models of a run's experiment.

    Results that an earlier experiment left in the folder are not read.

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
            {"label": label, "network": network, "method": method, "seed": seed}
            | {name: scores[name] for name in ("uar", "accuracy", "clips")}
            | {"p_uar": scores.get("p_better", {}).get("uar", float("nan"))}
        )
    return pd.DataFrame(rows)


def result_table(run: Path) -> pd.DataFrame:
    """Returns the results of a run as people read them.

    Args:
        run: Folder of a run.

    Returns:
        One row a network and method, as text: UAR and accuracy as mean ± standard deviation over
        seeds in percent, the difference in UAR from `base`, seeds, clips.

    Raises:
        InputError: As `read_scores`.
    """
    scores = read_scores(run)
    order = {"base": 0, "nsl": 1}
    base = scores[scores["method"] == "base"].groupby("network")["uar"].mean()
    rows = []
    for (network, method), group in scores.groupby(["network", "method"]):
        gain = group["uar"].mean() - base.get(network, float("nan"))
        rows.append(
            {
                "network": network,
                "method": method,
                "UAR %": _mean_and_spread(group["uar"]),
                "accuracy %": _mean_and_spread(group["accuracy"]),
                "UAR against base": ""
                if method == "base" or pd.isna(gain)
                else f"{100 * gain:+.1f}",
                "seeds": len(group),
                "test clips": int(group["clips"].iloc[0]),
            }
        )
    rows.sort(key=lambda row: (row["network"], order.get(row["method"], 2), row["method"]))
    return pd.DataFrame(rows)


def _mean_and_spread(values: pd.Series) -> str:
    mean = f"{100 * values.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * values.std():.1f}"


def read_results(path: Path) -> Results:
    """Reads the results of a sweep.

    Args:
        path: The results file; no runs are done where it is missing.

    Returns:
        Results by run, in the order of the lines.

    Raises:
        InputError: If a line is not one of a sweep.

    Example:
        >>> from pathlib import Path
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, test=False)
        >>> add_result(Path("runs.jsonl"), run, {"val_uar": 0.5, "kept_epoch": 9, "seconds": 60.0})
        >>> read_results(Path("runs.jsonl"))[run]["val_uar"]
        0.5
    """
    results = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            values = json.loads(line)
            run = Run(**{field.name: values.pop(field.name) for field in fields(Run)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: line {number} is not one of tools/sweep.py ({error}); delete the line."
            ) from error
        results[run] = values
    return results


def add_result(path: Path, run: Run, result: Mapping[str, Any]) -> None:
    """Adds a line to the results of a sweep; a kill at any moment leaves the file whole.

    Args:
        path: The results file; it is made if it does not exist.
        run: The run.
        result: Its result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    partial = path.with_name(f".{path.name}")
    partial.write_text(before + json.dumps(asdict(run) | dict(result)) + "\n")
    partial.replace(path)
