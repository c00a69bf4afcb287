import json
import math
from dataclasses import replace
from math import isnan

import pytest

from ser_nsl.errors import InputError
from ser_nsl.pipeline.results import add_result, read_results, read_scores, result_table, summarize
from ser_nsl.pipeline.sweep_run import Run


@pytest.fixture
def run(tmp_path):
    """A run of three methods and two seeds, and what an earlier run of another network left."""
    models = [
        ("cnn6", "nsl", 0, 0.60, 0.65, 0.04),
        ("cnn6", "nsl", 1, 0.70, 0.75, 0.20),
        ("cnn6", "add", 0, 0.40, 0.45, 0.90),
        ("cnn6", "add", 1, 0.40, 0.45, 0.95),
        ("cnn6", "base", 0, 0.50, 0.55, None),
        ("cnn6", "base", 1, 0.60, 0.65, None),
        ("vgg15", "base", 0, 0.80, 0.90, None),
    ]
    (tmp_path / "experiment.yaml").write_text(
        """{name: made, title: made, source: {corpus: ravdess, audio_dir: a},
        target: {corpus: emovo, audio_dir: b}, networks: [cnn6], methods: [nsl, add, base],
        seeds: [0, 1]}"""
    )
    results = tmp_path / "results"
    results.mkdir()
    for network, method, seed, uar, accuracy, p_better in models:
        scores = {"uar": uar, "accuracy": accuracy, "clips": 93}
        if p_better is not None:
            scores["p_better"] = {"uar": p_better, "accuracy": 0.5}
        (results / f"{network}-{method}-seed{seed}.json").write_text(json.dumps(scores))
    return tmp_path


def test_one_row_a_model_of_the_experiment(run):
    rows = read_scores(run).set_index(["network", "method", "seed"])

    assert len(rows) == 6
    assert rows.loc[("cnn6", "nsl", 1)].to_dict() == {
        "label": "cnn6-nsl-seed1",
        "uar": 0.70,
        "accuracy": 0.75,
        "clips": 93,
        "p_uar": 0.20,
    }
    assert isnan(rows.loc[("cnn6", "base", 0), "p_uar"])


@pytest.mark.parametrize("text", ['{"uar": 0.5', "[]", '{"uar": 0.5}', "[" * 5000])
def test_damaged_result_is_named(text, run):
    (run / "results" / "cnn6-base-seed1.json").write_text(text)

    with pytest.raises(InputError, match=r"cnn6-base-seed1\.json: is no result .* run-pipeline"):
        read_scores(run)


def test_means_over_seeds_with_their_spread(run):
    table = result_table(summarize(run))

    # Two values a tenth apart have a standard deviation of 0.1 / sqrt(2).
    columns = ("network", "method", "UAR %", "accuracy %", "UAR against base", "seeds")
    assert [tuple(row[column] for column in columns) for row in table] == [
        ("cnn6", "base", "55.0 ± 7.1", "60.0 ± 7.1", "", 2),
        ("cnn6", "nsl", "65.0 ± 7.1", "70.0 ± 7.1", "+10.0", 2),
        ("cnn6", "add", "40.0 ± 0.0", "45.0 ± 0.0", "-15.0", 2),
    ]
    assert {row["test clips"] for row in table} == {93}


def test_model_without_a_result_is_named(run):
    (run / "results" / "cnn6-add-seed1.json").unlink()
    with pytest.raises(InputError, match="has no result of cnn6-add-seed1"):
        read_scores(run)


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run; run ser-nsl run-pipeline first"):
        summarize(tmp_path)


RUN = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, "")


def test_results_of_a_sweep_are_read_as_they_were_added(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    results = {
        RUN: {"uar": 0.5},
        replace(RUN, seed=1): {"uar": 0.75, "speakers": {"a": {"uar": 0.75}}},
    }
    for run, result in results.items():
        add_result(path, run, result)

    assert [*read_results(path).items()] == [*results.items()]
    assert read_results(tmp_path / "none.jsonl") == {}


OLD = json.dumps({**vars(RUN), "test": True, "uar": 0.5}).replace('"trial": "", ', "")


@pytest.mark.parametrize("line", ['{"corpus": "emodb"}', "[]", '{"corpus', OLD])
def test_damaged_line_is_named(line, tmp_path):
    path = tmp_path / "runs.jsonl"
    add_result(path, RUN, {})
    with path.open("a") as file:
        file.write(line)

    with pytest.raises(InputError, match=r"runs\.jsonl: line 2"):
        read_results(path)


@pytest.mark.parametrize(
    "change",
    [
        *[{"fold": []}, {"fold": 0.5}, {"seed": "0"}, {"corpus": None}, {"label_share": "all"}],
        *[{"uar": "high"}, {"uar": 71.5}, {"accuracy": math.nan}, {"curve": [0.5, None]}],
        *[{"speakers": {"a": {"uar": 2}}}, {"speakers": []}, {"seconds": -1}, {"epochs": math.inf}],
        {},  # the same run again
    ],
)
def test_line_that_no_run_has_written_is_named(change, tmp_path):
    path = tmp_path / "runs.jsonl"
    add_result(path, RUN, {"uar": 0.5})
    before = path.read_text()
    other = json.dumps({**vars(replace(RUN, seed=1)), "alpha": 0, "purity": None, "steps": 3})
    path.write_text(f"{before}{other}\n")
    assert len(read_results(path)) == 2  # numbers as other programs write them

    path.write_text(before + json.dumps({**vars(RUN), "seed": 1 if change else 0} | change))
    with pytest.raises(InputError, match=r"runs\.jsonl: line 2"):
        read_results(path)


def test_line_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(json.dumps(vars(RUN)).encode() + b"\n\xff\xfe")

    with pytest.raises(InputError, match=r"runs\.jsonl: line 2"):
        read_results(path)
