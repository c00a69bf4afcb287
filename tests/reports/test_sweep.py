"""A sweep made by hand, whose graph is worth something at half of the labels, and not at all."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.commands import make_report
from ser_nsl.pipeline.sweep_config import Fold, Grid, SweepConfig, list_runs
from ser_nsl.pipeline.sweep_run import Run
from ser_nsl.reports.figures import drawing
from ser_nsl.reports.sweep import make_sweep_report
from tests.reports.page import Page

CLASSES = ["anger", "joy"]
USED = {"n": (3,), "neighbors": ("batch",), "layers": ("fc2",)}
SPACE = "\N{NO-BREAK SPACE}"


def sweep(folder: Path) -> SweepConfig:
    return SweepConfig(
        name="tiny",
        title="Tiny <& sure>",
        target=CorpusConfig("emodb", audio_dir=folder / "secret" / "emodb", leave_out=("boredom",)),
        folds=[Fold(("a", "b"), ("c",)), Fold(("c", "d"), ("e",)), Fold(("e", "f"), ("a",))],
        grids={
            "choose": Grid(
                **USED | {"n": (3, 6), "layers": ("fc1", "fc2")},
                alpha=(0.1, 1.0),
                label_shares=(0.5,),
                seeds=(),
            ),
            "main": Grid(
                **USED,
                arms=("base", "nsl", "fused", "random", "oracle", "add"),
                label_shares=(0.5, 1.0),
                seeds=(0, 1),
            ),
            "purity": Grid(
                **USED, arms=("purity_20", "purity_60"), label_shares=(0.5,), seeds=(0,)
            ),
            "networks": Grid(
                **USED, arms=("base", "nsl", "random"), networks=("cnn6",), seeds=(0,)
            ),
        },
        default=("choose", "main", "purity", "networks"),
        trials={"plain": {}, "shifts": {"augmentation": {"time_shift_frames": 9}}},
        upstream=str(folder / "secret" / "wav2vec"),
        caution="Do not trust this.",
    )


def gain(run: Run, speaker: str) -> int:
    """Clips of ten that the arm has right beyond base's five."""
    by_arm = {"nsl": 2, "fused": 2 if speaker in "ace" else -1, "oracle": 4}
    return by_arm.get(run.method, 0) if run.label_share == 0.5 else 0


def result_of(run: Run, config: SweepConfig) -> dict:
    """Ten clips of either class a speaker; `run.seed` more are right with every arm.

    Shifts are better, and best after two epochs; linear classifiers are right on 8 of 10.
    """
    best = 0.5 + run.n / 100
    result = {"val_uar": best, "kept_epoch": 2, "seconds": 60.0, "epochs": 3, "steps": 10}
    result |= {"curve": [0.3, best - 0.1 * (run.trial == "plain"), 0.4], "train_uar": 0.7}
    if not run.test:
        return result
    hits = {each: 5 + run.seed + gain(run, each) for each in config.folds[run.fold].test}
    if run.network == "linear":
        hits = dict.fromkeys(hits, 5 if run.method == "mfcc" else 8)
    right, every = sum(hits.values()), 10 * len(hits)
    clips = {
        f"{each}{true}{i}": [true, true if i < own else 1 - true]
        for each, own in hits.items()
        for true in (0, 1)
        for i in range(10)
    }
    return result | {
        "chosen": "shifts",
        "epochs": 2,
        "predictions": {"test": clips},
        "uar": right / every,
        "accuracy": right / every,
        "clips": 2 * every,
        "confusion_matrix": [[right, every - right], [every - right, right]],
        "classes": CLASSES,
        "speakers": {each: {"uar": own / 10, "clips": 20} for each, own in hits.items()},
    }


def write_sweep(
    folder: Path, config: SweepConfig | None = None, *, keep: Callable[[Run], bool] = lambda _: True
) -> Path:
    """Writes what a sweep leaves, of the runs that are kept."""
    config = config or sweep(folder)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.structured(config), folder / "sweep.yaml")
    lines = [
        json.dumps(asdict(run) | result_of(run, config))
        for run in list_runs(config, ["all"])
        if keep(run)
    ]
    (folder / "runs.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def read(folder: Path) -> tuple[str, str, dict]:
    """The pages without no-break spaces, and the numbers."""
    html, markdown = (
        unescape((folder / name).read_text()).replace(SPACE, " ")
        for name in ("report.html", "report.md")
    )
    return html, markdown, json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = write_sweep(tmp_path_factory.mktemp("sweeps") / "tiny")
    made = make_report(run=folder)
    assert made.out == folder
    return folder


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch):
    """Figures are drawn but not written, except in `report`."""
    monkeypatch.setattr(drawing, "to_svg", lambda figure, **_: "<svg/>")


def section(page: str, title: str) -> str:
    """What stands below a heading of the Markdown page."""
    return page.partition(f" {title}\n")[2].partition("\n#")[0]


def row_of(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_sentences_say_what_intervals_allow(report):
    html, markdown, _ = read(report)
    # All six speakers gain, two of 64 flips, but there are 23 comparisons; clips are many.
    sure = (
        "is 20.0 points above base on these clips, which other speakers may not repeat (95 % "
        "interval 20.0 to 20.0; p by folds 1.000, speakers 0.719, clips <0.001; 6 speakers) and "
        "closes 80 % (80 to 80) of the distance to the upstream"
    )
    # Of six gains of 0.2 or -0.1, half each, resamples have one to five high ones in 95 %.
    unsure = (
        "cannot be distinguished from base: 5.0 points above "
        "(95 % interval -5.0 to 15.0; p by folds 1.000, speakers 1.000, clips 1.000; 6 speakers)"
    )

    for page in (html, markdown):
        half, full = (
            page.partition(f"cnn_tdnn, {share} % of the labels")[2].partition("fused")
            for share in (50, 100)
        )
        assert sure in half[0]
        assert unsure in half[2]
        assert (
            "cannot be distinguished from base: 0.0 points above (95 % interval 0.0 to 0.0"
            in full[0]
        )
        assert "base, by more than chance explains: 0 of 7 settings are above, 0 below" in page
        assert "graph, by more than chance explains: 0 of 5 settings are above, 0 below" in page
        assert "By speakers (6), p cannot be less than 0.031, nor the smallest of 23" in page
        assert "By folds (3), p cannot be less than 0.25, nor the smallest of 23" in page
        assert "base is barely above chance: 55.0% UAR" in page
        below = "Below the linear classifier on the upstream's embeddings (80.0% UAR): base, nsl,"
        assert below in page
    assert "`nsl` cannot be distinguished" in section(markdown, "cnn6, 100 % of the labels")


def test_table_of_scores(report):
    html, markdown, _ = read(report)
    half = markdown.partition("## Test scores")[2]
    table = section(half, "cnn_tdnn, 50 % of the labels")

    assert row_of(table, "base (labels only)") == [*("55.0 ± 5.5", "7.1", "", "", "", "6")]
    nsl = row_of(table, "nsl (labels and graph; n 3, α 0.1, fc2, cosine, batch)")
    gain = "+20.0 (20.0 to 20.0; p by folds 1.000, speakers 0.719, clips <0.001)"
    assert nsl == ["75.0 ± 5.5", "7.1", "80 % (80 to 80)", gain, gain, "6"]
    upstream = row_of(table, "linear classifier on the upstream's embeddings |")
    assert upstream[-6:] == ["80.0 ± 0.0", "", "100 %", "", "", "6"]
    order = re.findall(r"^\| (\w+) \(", table, re.MULTILINE)
    assert order == ["base", "nsl", "fused", "random", "oracle", "purity_20", "purity_60", "add"]
    assert "by chance it is 50.0 %" in markdown
    assert "20.0 to 20.0" in html


def made(folder: Path, **grid) -> tuple[str, str, dict]:
    """The report of a sweep with one grid."""
    config = sweep(folder)
    grids = {"main": replace(config.grids["main"], **grid)}
    write_sweep(folder, replace(config, grids=grids, default=("main",)))
    make_sweep_report(run=folder, out=folder)
    return read(folder)


def test_sentences_of_pseudo_labels(tmp_path):
    arms = ("base", "pseudo_labels", "probe", "pseudo_labels_probe", "random_agreeing")
    html, markdown, metrics = made(tmp_path, arms=arms, label_shares=(0.5,))

    assert "- `pseudo_labels` cannot be distinguished from base: 0.0 points above" in markdown
    assert "with what the probe knows but without a graph." in markdown
    assert "| Against pseudo-labels | Runs |" in markdown
    assert html.count("Against pseudo-labels</th>") == 1
    text = "it cannot be distinguished from pseudo-labels without a graph: 0.0 points above"
    sentences = [line for line in markdown.splitlines() if text in line]
    assert [line.split("`")[1] for line in sentences] == ["probe", "pseudo_labels_probe"]
    assert "the random graph" not in sentences[1]
    found = [each["against_pseudo_labels"] for each in metrics["comparisons"]]
    assert [bool(each) for each in found] == [False, False, True, True, False]


def test_sentences_of_a_graph_without_weight(tmp_path):
    markdown = made(tmp_path, arms=("base", "nsl", "random"), alpha=(0.0, 0.1))[1]

    assert "of 2 settings are above" in markdown  # at either share of the labels
    sentences = [line for line in markdown.splitlines() if line.startswith("- `nsl α 0`")]
    assert len(sentences) == 2
    for line in sentences:
        assert line.endswith("with unlabelled clips in the batch but no weight on the graph.")


def test_settings_of_one_arm_are_distinct(tmp_path):
    grid = {"n": (3, 6), "alpha": (0.1, 1.0), "seeds": (0,), "label_shares": (1.0,)}
    markdown = made(tmp_path, arms=("base", "nsl", "random"), **grid)[1]

    labels = re.findall(r"^- `(nsl.+?)`", markdown, re.MULTILINE)
    assert labels == ["nsl n 3, α 0.1", "nsl n 3, α 1", "nsl n 6, α 0.1", "nsl n 6, α 1"]
    assert (tmp_path / "figures" / "main_cnn_tdnn_100_nsl_batch_fc2_cosine.svg").is_file()


def test_embeddings_are_described_as_the_arms_use_them(tmp_path):
    markdown = made(tmp_path, arms=("base", "paper", "add"))[1]

    (line,) = (line for line in markdown.splitlines() if line.startswith("- Upstream:"))
    assert "subtracted" not in line
    assert "edges within speakers too; transfer has embeddings as they are" in line


def test_arms_that_are_below(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "gain", lambda run, _: -3 * (run.method == "paper"))
    markdown = made(tmp_path, arms=("base", "paper"), label_shares=(0.5,))[1]

    assert "`paper` is 30.0 points below base (95 % interval -30.0 to -30.0; p by" in markdown
    assert "closes -120 % (-120 to -120) of the distance" in markdown
    assert "Against base, by more than chance explains: 0 of 1 settings are" in markdown
    assert "above, 1 below. Against the random graph" in markdown


def test_networks_side_by_side(report):
    table = section(read(report)[1], "Networks side by side")

    order = re.findall(r"^\| (\w+)(?:;| \|)", table, re.MULTILINE)
    assert order == ["Arm", "base", "nsl", "fused", "random", "oracle", "add"]
    assert row_of(table, "nsl; n 3") == ["53.0", "50.0 / 50.0", "53.0", "55.0 / 55.0"]
    assert row_of(table, "oracle; n 3") == ["–", "–", "53.0", "55.0 / 55.0"]


def test_choosing(report):
    markdown = read(report)[1]
    table = section(markdown, "Trials of cnn_tdnn, 50 % of the labels")

    # UAR after so many updates.
    assert row_of(table, "base") == ["40.0 (20)", "**50.0** (20)"]
    assert row_of(table, "nsl") == ["43.0 (20)", "**53.0** (20)"]
    assert "- `shifts`: augmentation.time_shift_frames 9" in markdown


def test_settings_and_time(report):
    html, markdown, metrics = read(report)

    assert "| 1 | c, d | e | 40 |" in markdown
    assert "EmoDB, without boredom" in markdown and "Seeds: 0, 1:" in markdown
    assert "50 epochs, each of as many steps as show every training clip once" in markdown
    assert f"{metrics['machine']['cpu']}, {metrics['machine']['cores']} cores" in markdown
    assert "| cnn6 | 100 % | no graph | 9 | 60 | 60 | 0.1 |" in markdown
    assert "| `networks` | yes | 36 | 36 |" in markdown
    assert 0 < html.index("Do not trust this.") < html.index("What the arms are worth")
    assert "Unfinished" not in html + markdown


def test_it_says_where_validation_speakers_train_too(report, tmp_path):
    config = sweep(tmp_path)
    grid = replace(config.grids["main"], arms=("base", "add"), networks=("cnn6", "cnn_tdnn"))
    grids = {"main": replace(grid, label_shares=(1.0,))}
    write_sweep(tmp_path, replace(config, grids=grids, default=("main",), joined=True))
    make_sweep_report(run=tmp_path, out=tmp_path)

    said = (
        "linear classifiers among them, those of validation train too",
        "those of validation speakers too, once these have chosen how strongly",
        "UAR %, once validation speakers have trained too.",
        "scored after as many epochs, in which validation speakers trained too.",
        "on the clips of validation speakers too; so are the probes that they learn from, and the",
    )
    *pages, metrics = read(tmp_path)
    *others, alone = read(report)
    for page in pages:
        assert all(words in page for words in said)
        assert "validation speakers choose how strongly" not in page
    for page in others:
        assert not any(words in page for words in said)
        assert "training clips; validation speakers choose how strongly" in page
        assert "chosen, after which the test speakers were scored." in page
    assert (metrics["joined"], alone["joined"]) == (True, False)


def test_numbers(report):
    metrics = read(report)[2]
    (nsl,) = (
        each
        for each in metrics["comparisons"]
        if each["setting"]["method"] == "nsl" and each["setting"]["label_share"] == 0.5
    )

    assert metrics["missing"] == 0 and metrics["classes"] == CLASSES
    assert nsl["against_base"]["by_speaker"] == pytest.approx(dict.fromkeys("abcdef", 0.2))
    assert (nsl["runs"], nsl["uar"]) == (6, pytest.approx(0.75))
    assert (nsl["choice"]["trial"], nsl["choice"]["epochs"]) == ("shifts", 2)
    assert nsl["closed"]["share"] == pytest.approx(0.8)
    assert [each["kind"] for each in metrics["baselines"]] == ["mfcc", "upstream", "both"] * 2
    assert {each["unit"] for each in metrics["tests"]} == {"folds", "speakers", "clips"}


def test_every_kind_of_figure(report):
    markdown = read(report)[1]
    links = re.findall(r"!\[[^]]+\]\((.+?)\)", markdown)

    assert {report / link for link in links} == set((report / "figures").iterdir())
    assert sorted(Path(link).stem for link in links) == [
        "choose_cnn_tdnn_50_nsl_batch_fc1_cosine",
        "choose_cnn_tdnn_50_nsl_batch_fc2_cosine",
        "cnn6_100_differences",
        "cnn6_100_updates",
        "cnn_tdnn_100_confusion_base",
        "cnn_tdnn_100_confusion_nsl",
        "cnn_tdnn_100_differences",
        "cnn_tdnn_100_updates",
        "cnn_tdnn_50_differences",
        "cnn_tdnn_50_purity_3_0.1_fc2_cosine_batch",
        "cnn_tdnn_50_updates",
        "cnn_tdnn_shares_arms",
        "cnn_tdnn_shares_controls",
        "cnn_tdnn_shares_transfer",
    ]


def test_page_loads_nothing(report):
    html = (report / "report.html").read_text()
    page = Page(html)

    assert page.loads_nothing()
    assert len(page.addresses) == 14
    assert "<h1>Tiny &lt;&amp; sure&gt;</h1>" in html


def test_no_path_of_the_machine(report):
    for path in [report / "report.html", report / "report.md", report / "metrics.json"]:
        text = path.read_text()
        assert str(report) not in text and "secret" not in text, path


@pytest.mark.slow
def test_made_again_it_replaces_itself_only(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    make_sweep_report(run=folder, out=folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "figures" / "old.svg").touch()
    (folder / "notes.txt").touch()
    make_sweep_report(run=folder, out=folder)

    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before | {folder / "notes.txt": b""}


@pytest.mark.slow
def test_unfinished_sweep(tmp_path):
    folder = write_sweep(tmp_path, keep=lambda run: run.test and run.seed == run.fold == 0)
    make_sweep_report(run=folder, out=folder)
    html, markdown, metrics = read(folder)

    assert metrics["missing"] == 258 - 23
    assert "Unfinished. 235 of 258 planned trainings are missing." in markdown.replace("**", "")
    assert "`nsl` is 20.0 points above base on 2 speakers, too few to tell" in markdown
    assert "nothing can be said yet" in html and "interval excludes" not in html
    table = section(markdown.partition("## Test scores")[2], "cnn_tdnn, 50 % of the labels")
    assert row_of(table, "nsl (")[-1] == "1, 5 missing"
    assert "Trials of" not in markdown


@pytest.mark.slow
@pytest.mark.parametrize(
    "keep",
    [
        lambda run: not run.test,
        lambda run: run.test and run.method == "base",
        lambda run: run.test and run.method == "oracle",
        lambda run: run.test and run.method == "nsl" and run.seed == 1,
        lambda run: run.test and run.network == "cnn6" and run.fold == 2,
        lambda run: run.method.startswith("purity") or (run.method == "base" and run.fold == 1),
    ],
)
def test_absent_pieces(tmp_path, keep):
    folder = write_sweep(tmp_path, keep=keep)
    make_sweep_report(run=folder, out=tmp_path / "report")
    html, markdown, metrics = read(tmp_path / "report")

    assert metrics["runs"] and "What these numbers rest on" in html
    for figure in (tmp_path / "report" / "figures").iterdir():
        assert f"figures/{figure.name}" in markdown
    assert "nan" not in re.sub(r"base64,\S+", "", html + markdown).lower()


def test_without_runs_it_is_refused(tmp_path):
    folder = write_sweep(tmp_path, keep=lambda _: False)

    with pytest.raises(InputError, match=r"runs\.jsonl: "):
        make_sweep_report(run=folder, out=folder)
    assert not (folder / "report.md").exists()


def test_figures_of_others_are_kept(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    (tmp_path / "mine" / "figures").mkdir(parents=True)

    with pytest.raises(InputError, match=r"figures is of no report"):
        make_sweep_report(run=folder, out=tmp_path / "mine")
    assert [*(tmp_path / "mine").iterdir()] == [tmp_path / "mine" / "figures"]


def test_output_of_a_stage_is_not_replaced(tmp_path):
    (tmp_path / "stage.json").touch()

    with pytest.raises(InputError, match="is the output of a stage"):
        make_sweep_report(run=tmp_path, out=tmp_path)
