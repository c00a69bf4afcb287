"""Reads the results of a run (`results/LABEL.json`) and of a sweep (`runs.jsonl`)."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd

from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.settings import check
from ser_nsl.pipeline.sweep_run import Run

EXPERIMENT_NAME = "experiment.yaml"
"""Settings of a run, in its folder."""
RESULTS_NAME = "runs.jsonl"
"""Results of a sweep, in its folder: one line of JSON a run."""
SETTINGS_NAME = "sweep.yaml"
"""Settings of a sweep, in its folder."""

Results = dict[Run, dict[str, Any]]
"""Results of a sweep by run. Of trainings: `epochs`, `steps` (updates an epoch), `curve` (UAR of
validation clips after each epoch), `kept_epoch`, `train_uar`, `val_uar`, and `purity` of the graph.
Where validation clips train, they have neither curve nor UAR.
Where test speakers are scored: the trial that was `chosen`, `uar`, `accuracy`, `clips`, `classes`,
`confusion_matrix`, and `speakers`, from speaker to `uar` and `clips`. Of all: `predictions`, by
split and id the true and the predicted class, as indices, and `seconds`."""

_SHARES = ("uar", "accuracy", "val_uar", "train_uar", "purity")
_COUNTS = ("epochs", "steps", "kept_epoch", "clips", "seconds")


def baseline_label(kind: str) -> str:
    """Returns the name of a linear classifier's result file in a run, by kind of embedding."""
    return f"baseline-{kind}"


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
            f"{run}: holds no {EXPERIMENT_NAME}, so it is no run; run ser-nsl run-pipeline first."
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
                f"{run}: has no result of {label}; run ser-nsl run-pipeline until it ends."
            )
        try:
            scores = json.loads(path.read_text())
            measured = {name: scores[name] for name in ("uar", "accuracy", "clips")}
            measured["p_uar"] = scores.get("p_better", {}).get("uar", float("nan"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: is no result of ser-nsl evaluate ({error!r}); delete it, and run ser-nsl "
                "run-pipeline again."
            ) from error
        rows.append({"label": label, "network": network, "method": method, "seed": seed} | measured)
    return pd.DataFrame(rows)


def summarize(run: Path) -> list[dict[str, Any]]:
    """Returns the results of a run by network and method, over seeds.

    Args:
        run: Folder of a run.

    Returns:
        For each network and method, base first, then nsl: `network`, `method`, `seeds`, `clips`,
        `uar_by_seed`, mean and standard deviation of UAR and accuracy in [0, 1] (None for one
        seed), `uar_gain` over base (None for base), and smallest and largest `p_uar`.

    Raises:
        InputError: As `read_scores`.
    """
    models = read_scores(run)
    order = {"base": 0, "nsl": 1}
    groups = dict(list(models.groupby(["network", "method"])))
    rows = []
    for network, method in sorted(groups, key=lambda key: (key[0], order.get(key[1], 2), key[1])):
        group = groups[network, method]
        base = None if method == "base" else groups.get((network, "base"))
        p_values = group["p_uar"].dropna().tolist()
        rows.append(
            {
                "network": network,
                "method": method,
                "seeds": group["seed"].tolist(),
                "clips": int(group["clips"].iloc[0]),
                "uar_by_seed": group["uar"].tolist(),
                "uar_mean": group["uar"].mean(),
                "uar_sd": or_none(group["uar"].std()),
                "accuracy_mean": group["accuracy"].mean(),
                "accuracy_sd": or_none(group["accuracy"].std()),
                "uar_gain": None if base is None else group["uar"].mean() - base["uar"].mean(),
                "p_uar": [min(p_values), max(p_values)] if p_values else None,
            }
        )
    return rows


def result_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns results as people read them.

    Args:
        rows: What `summarize` returns.

    Returns:
        Rows as text: UAR and accuracy as mean ± standard deviation over seeds in percent, the
        difference in UAR from `base` in points, seeds, clips.
    """
    return [
        {
            "network": row["network"],
            "method": row["method"],
            "UAR %": _mean_and_spread(row["uar_mean"], row["uar_sd"]),
            "accuracy %": _mean_and_spread(row["accuracy_mean"], row["accuracy_sd"]),
            "UAR against base": "" if row["uar_gain"] is None else f"{100 * row['uar_gain']:+.1f}",
            "seeds": len(row["seeds"]),
            "test clips": row["clips"],
        }
        for row in rows
    ]


def _mean_and_spread(mean: float, sd: float | None) -> str:
    return f"{100 * mean:.1f}" if sd is None else f"{100 * mean:.1f} ± {100 * sd:.1f}"


def read_results(path: Path) -> Results:
    """Reads the results of a sweep.

    Args:
        path: The results file; no runs are done where it is missing.

    Returns:
        Results by run, in the order of the lines.

    Raises:
        InputError: If a line is not one of a sweep, has a value that no run has, or is of the
            same run as another.

    Example:
        >>> from pathlib import Path
        >>> run = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, trial="shifts")
        >>> add_result(Path("runs.jsonl"), run, {"val_uar": 0.5, "kept_epoch": 9, "seconds": 60.0})
        >>> read_results(Path("runs.jsonl"))[run]["val_uar"]
        0.5
    """
    results: Results = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            values = json.loads(line)
            run = Run(**{field.name: values.pop(field.name) for field in fields(Run)})
            _check(run, values)
            check(run not in results, "the run", "there once", "another line of it")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: line {number} is not one of ser-nsl sweep since version 0.2 ({error!r}); "
                "delete the line, or the file if an earlier version made it."
            ) from error
        results[run] = values
    return results


def _check(run: Run, result: Mapping[str, Any]) -> None:
    """Refuses a line of which a value is of another type, or out of its range."""
    for name, kind in get_type_hints(Run).items():
        value = getattr(run, name)
        whole = isinstance(value, int) and isinstance(0.0, kind)  # 1 is 1.0 for other programs
        check(whole or isinstance(value, kind), name, f"of type {kind}", value)
    shares = [result[name] for name in _SHARES if result.get(name) is not None]
    shares += [*result.get("curve", [])]
    shares += [own["uar"] for own in result.get("speakers", {}).values()]
    for share in shares:
        check(0 <= share <= 1, "each UAR, accuracy and purity", "0 to 1", share)
    for name in _COUNTS:
        check(0 <= result.get(name, 0) < math.inf, name, "0 or more", result.get(name))


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
    line = json.dumps(asdict(run) | dict(result), separators=(",", ":"))
    partial.write_text(before + line + "\n")
    partial.replace(path)
