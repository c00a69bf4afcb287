import json
from math import isnan

import pytest

from ser_nsl.errors import InputError
from ser_nsl.results import read_results, result_table


@pytest.fixture
def run(tmp_path):
    """A run of two networks: one with two methods and two seeds, one with a single model."""
    models = [
        ("cnn6", "nsl", 0, 0.60, 0.65, 0.04),
        ("cnn6", "nsl", 1, 0.70, 0.75, 0.20),
        ("cnn6", "add", 0, 0.40, 0.45, 0.90),
        ("cnn6", "base", 0, 0.50, 0.55, None),
        ("cnn6", "base", 1, 0.60, 0.65, None),
        ("vgg15", "nsl", 0, 0.80, 0.90, None),
    ]
    results = tmp_path / "results"
    results.mkdir()
    for network, method, seed, uar, accuracy, p_better in models:
        label = f"{network}-{method}-seed{seed}"
        scores = {"uar": uar, "accuracy": accuracy, "clips": 93}
        if p_better is not None:
            scores["p_better"] = {"uar": p_better, "accuracy": 0.5}
        (results / f"{label}.json").write_text(json.dumps(scores))
        (results / f"{label}.stage.json").write_text("{}")
        model = tmp_path / "models" / label
        model.mkdir(parents=True)
        settings = {"model": network, "method": method, "training": {"seed": seed}}
        (model / "stage.json").write_text(json.dumps({"settings": settings}))
    return tmp_path


def test_one_row_a_model(run):
    rows = read_results(run).set_index(["network", "method", "seed"])

    assert len(rows) == 6
    assert rows.loc[("cnn6", "nsl", 1)].to_dict() == {
        "uar": 0.70,
        "accuracy": 0.75,
        "clips": 93,
        "p_uar": 0.20,
    }
    assert isnan(rows.loc[("cnn6", "base", 0), "p_uar"])


def test_means_over_seeds_with_their_spread(run):
    table = result_table(run).to_dict("records")

    # Two values a tenth apart have a standard deviation of 0.1 / sqrt(2).
    columns = ("network", "method", "UAR %", "accuracy %", "UAR against base", "seeds")
    assert [tuple(row[column] for column in columns) for row in table] == [
        ("cnn6", "base", "55.0 ± 7.1", "60.0 ± 7.1", "", 2),
        ("cnn6", "nsl", "65.0 ± 7.1", "70.0 ± 7.1", "+10.0", 2),
        ("cnn6", "add", "40.0", "45.0", "-15.0", 1),
        ("vgg15", "nsl", "80.0", "90.0", "", 1),
    ]
    assert {row["test clips"] for row in table} == {93}


def test_run_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no results; run tools/run_pipeline.py first"):
        result_table(tmp_path)
