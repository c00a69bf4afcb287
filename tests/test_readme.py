"""The README's commands name scripts, flags and settings that exist."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from ser_nsl.pipeline.experiment import load_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if "tools/" in line
]


def help_of(script: str, monkeypatch, capsys) -> str:
    monkeypatch.setattr("sys.argv", [script, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1])
def test_commands_parse(command, monkeypatch, capsys):
    _, script, *arguments = command
    text = help_of(script, monkeypatch, capsys)
    flags = [argument for argument in arguments if argument.startswith("--")]
    missing = [flag for flag in flags if not re.search(rf"{flag}(?![\w.-])", text)]
    assert not missing


def test_every_script_and_experiment_is_told_of():
    readme = (ROOT / "README.md").read_text()
    scripts = [path.name for path in (ROOT / "tools").glob("*.py")]
    assert [name for name in scripts if f"`{name}`" not in readme] == []
    experiments = [path.stem for path in (ROOT / "ser_nsl" / "configs").glob("ravdess*.yaml")]
    assert [name for name in experiments if f"`{name}`" not in readme] == []
    assert all(load_experiment(name).name == name for name in experiments)


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def shown(value: float) -> str:
    """In percent, as the README writes it, without -0.0."""
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", "−")


def cell_of(row: dict) -> str:
    """UAR, and how far above plain training; in bold where chance does not explain that."""
    text, gain = f"{shown(row['uar'])} ± {shown(row['uar_sd'])}", row["against_base"]
    if gain is None:
        return text
    low, high, chance = gain["low"], gain["high"], gain["p_flips"]
    points = ("+" if gain["mean"] > 0 else "") + shown(gain["mean"])
    points = f"**{points}**" if (low > 0 or high < 0) and chance <= 0.05 else points
    return f"{text}<br>{points} ({shown(low)} to {shown(high)}; p {chance:.3f})"


@pytest.mark.parametrize("corpus", ["EmoDB", "EMOVO"])
@pytest.mark.parametrize("share", [25, 100])
def test_result_table_is_that_of_the_sweeps(corpus, share):
    path = ROOT / "results" / f"sweep_{corpus.lower()}" / "metrics.json"
    found = {
        each["setting"]["method"]: cell_of(each)
        for each in json.loads(path.read_text())["comparisons"]
        if each["setting"]["network"] == "resnet9_quarter"
        and each["setting"]["label_share"] == share / 100
        and (each["setting"]["n"], each["setting"]["alpha"]) in ((0, 0), (3, 1))
        and each["setting"]["distance"] in ("", "jensen_shannon")
        and each["uar"] is not None
    }
    (row,) = re.findall(rf"^\| {corpus} \| {share} % \| (.*) \|$", README, flags=re.MULTILINE)
    cells = [cell.strip() for cell in row.split(" | ")]
    methods = ["base", "nsl", "probe", "pseudo_labels", "random_agreeing"]
    assert cells[:5] == [found.get(method, "") for method in methods]
