"""README and docs: commands parse, links lead somewhere, the table shows what was measured."""

import ast
import functools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from ser_nsl.cli import COMMANDS, load
from ser_nsl.corpora import known_corpora, load_corpus
from ser_nsl.pipeline import load_experiment, load_sweep

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")
    ),
    *sorted(DOCS.glob("*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> Iterator[tuple[str, ...]]:
    """The words of each whole `ser-nsl ...` in a block of shell, the page before them."""
    for page, text in TEXTS.items():
        for block in blocks(text, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["ser-nsl"] and "..." not in words:
                    yield page, *words[1:]


@pytest.mark.parametrize("words", [*commands()], ids=lambda words: " ".join(words[:2]))
def test_commands_parse(words):
    _, *words = words
    if words == ["--help"]:
        return
    function = load(words[0])

    @functools.wraps(function)
    def do_nothing(*_, **__):
        pass

    tyro.cli(do_nothing, args=words[1:])  # exits where a flag is unknown, missing or ill-typed

    if words[0] == "sweep":
        load_sweep(words[words.index("--config") + 1])
    if words[0] == "run-pipeline":
        overrides = words[words.index("--set") + 1 :] if "--set" in words else []
        changes = [override for override in overrides if not override.startswith("--")]
        load_experiment(words[words.index("--config") + 1], changes)


@pytest.mark.parametrize("page", TEXTS)
def test_commands_in_sentences_exist(page):
    named = set(re.findall(r"`ser-nsl\s+([a-z][a-z-]+)", TEXTS[page]))
    assert named <= {*COMMANDS}


@pytest.mark.parametrize("page", TEXTS)
def test_examples_in_python_import_what_exists(page):
    for block in blocks(TEXTS[page], "python"):
        imports = [node for node in ast.parse(block).body if "Import" in type(node).__name__]
        exec(ast.unparse(ast.Module(imports, [])))


def test_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_every_command_script_experiment_and_corpus_is_described():
    scripts = [path.name for path in (ROOT / "tools").glob("*.py")]
    missing = [
        name for name in [*COMMANDS, *scripts] if f"`{name}`" not in TEXTS["docs/commands.md"]
    ]
    assert missing == []
    configs = (ROOT / "ser_nsl" / "pipeline" / "configs").glob("*.yaml")
    assert [path.stem for path in configs if f"`{path.stem}`" not in TEXTS["docs/chain.md"]] == []
    for name in known_corpora():
        corpus = load_corpus(name)
        classes = len({*corpus.labels.values()} - {None})
        row = f"| `{name}` | {corpus.title}"
        (line,) = [line for line in TEXTS["docs/corpora.md"].splitlines() if line.startswith(row)]
        assert f"| {corpus.language} | {classes} |" in line


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", prose)
    for target, anchor in links:
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def shown(value: float) -> str:
    """In percent, as the table shows it, without -0.0."""
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", "−")


ARMS_OF_EVIDENCE = {
    "base": "labels only",
    "start_base": "labels, from the taught network",
    "start_embedding": "labels and embeddings, from the taught network",
    "embedding": "labels and embeddings",
    "similarity": "labels and similarities within a batch",
    "pseudo_labels": "labels and the probe's pseudo-labels",
    "propagated": "labels and the probe's probabilities, corrected along the graph",
    "random_propagated": "the same along a random graph",
    "paper": "labels and the paper's graph",
    "random_paper": "labels and a random graph of its degrees",
    "start_pseudo_labels": "labels and pseudo-labels, from the taught network",
    "start_propagated": "labels and probabilities along the graph, from the taught network",
    "start_random_propagated": "the same along a random graph, from the taught network",
    "start_paper": "labels and the paper's graph, from the taught network",
    "start_random_paper": "labels and a random graph of its degrees, from the taught network",
}
LINEAR_OF_EVIDENCE = {
    "mfcc": "*linear classifier on MFCC statistics*",
    "upstream": "*linear classifier on the upstream*",
}


def mean_of(row: dict) -> str:
    """UAR and its standard deviation, which one run does not have."""
    spread = "" if row["uar_sd"] is None else f" ± {shown(row['uar_sd'])}"
    return f"{shown(row['uar'])}{spread}"


def evidence_cell(row: dict) -> str:
    """UAR, and the gain over labels only; in bold where neither speakers nor clips are chance."""
    text, gain = mean_of(row), row["against_base"]
    if gain is None:
        return text
    low, high, chance = gain["low"], gain["high"], max(gain["p_clips"])
    points = ("+" if gain["mean"] > 0 else "") + shown(gain["mean"])
    points = f"**{points}**" if (low > 0 or high < 0) and chance <= 0.05 else points
    p = "<0.001" if chance < 0.0005 else f"{chance:.3f}"
    return f"{text}<br>{points} ({shown(low)} to {shown(high)}; p {p})"


def evidence_table(metrics: dict) -> str:
    """The table of a sweep: UAR, gain over labels only, and share of the distance closed."""
    rows = [(title, "comparisons", "method", arm) for arm, title in ARMS_OF_EVIDENCE.items()]
    rows += [(title, "baselines", "kind", kind) for kind, title in LINEAR_OF_EVIDENCE.items()]
    lines = ["| Learns from | 25 % of the labels | closed | all labels | closed |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for title, part, key, name in rows:
        cells = []
        for share in (0.25, 1.0):
            found = [
                each
                for each in metrics[part]
                if each.get("setting", each)[key] == name
                and each.get("setting", each)["label_share"] == share
                and each["uar"] is not None
            ]
            if not found:
                cells += ["", ""]
            elif part == "baselines":
                cells += [mean_of(found[0]), ""]
            else:
                closed = (found[0]["closed"] or {}).get("share")
                cells += [
                    evidence_cell(found[0]),
                    "" if closed is None else f"{100 * closed:.0f} %",
                ]
        if any(cells):
            lines.append(f"| {' | '.join([title, *cells])} |".replace("|  |", "| |"))
    return "\n".join(lines).replace("|  |", "| |")


SWEEPS = {"EmoDB": "sweep_emodb", "RAVDESS": "sweep_ravdess", "EMOVO": "sweep_emovo"}


def metrics_of(corpus: str) -> dict:
    return json.loads((ROOT / "results" / SWEEPS[corpus] / "metrics.json").read_text())


def uar_of(corpus: str, share: float) -> dict[str, float]:
    """UAR in percent by arm, and of the linear classifiers by kind."""
    metrics = metrics_of(corpus)
    arms = [(each["setting"]["method"], each["setting"], each) for each in metrics["comparisons"]]
    linear = [(each["kind"], each, each) for each in metrics["baselines"]]
    return {
        name: 100 * each["uar"]
        for name, setting, each in arms + linear
        if setting["label_share"] == share and each["uar"] is not None
    }


def test_evidence_says_what_the_large_network_gained():
    report = ROOT / "results" / "sweep_emodb_large" / "metrics.json"
    found = {
        each["setting"]["method"]: each for each in json.loads(report.read_text())["comparisons"]
    }
    base, embedding, paper = (100 * found[arm]["uar"] for arm in ("base", "embedding", "paper"))
    gains = {
        arm: [100 * found[arm]["against_base"][name] for name in ("mean", "low", "high")]
        for arm in ("embedding", "paper")
    }
    said = " ".join(TEXTS["docs/evidence.md"].split()).replace("−", "-")

    assert f"{base:.1f} % UAR by plain training, {embedding:.1f} with Whisper's embeddings" in said
    assert "({:+.1f} points over speakers, {:.1f} to {:.1f};".format(*gains["embedding"]) in said
    assert (
        "and {:.1f} with the paper's graph ({:+.1f}, {:.1f} to {:.1f})".format(
            paper, *gains["paper"]
        )
        in said
    )
    assert f"is {uar_of('EmoDB', 1)['start_base'] - base:.1f} points above it" in said


def test_evidence_says_what_cnn6_gained_on_one_fold():
    lines = {
        network: (ROOT / "results" / folder / "runs.jsonl").read_text().splitlines()
        for network, folder in (("cnn6", "sweep_emodb_cnn6"), ("resnet9", "sweep_emodb_large"))
    }
    uar = {
        (network, run["method"]): 100 * run["uar"]
        for network, runs in lines.items()
        for run in map(json.loads, runs)
        if run["network"] == network and run["fold"] == 0 and "uar" in run
    }
    said = " ".join(TEXTS["docs/evidence.md"].split())

    cnn6 = [uar["cnn6", arm] for arm in ("base", "paper", "random_paper")]
    assert (
        "{:.1f} % UAR by plain training, {:.1f} with the paper's graph and {:.1f} with a".format(
            *cnn6
        )
        in said
    )
    resnet9 = [uar["resnet9", arm] for arm in ("base", "paper")]
    assert (
        "ResNet-9 has {:.1f} by plain training and {:.1f} with the paper's".format(*resnet9) in said
    )


@pytest.mark.parametrize("corpus", SWEEPS)
def test_evidence_shows_what_the_sweeps_found(corpus):
    assert evidence_table(metrics_of(corpus)) in TEXTS["docs/evidence.md"]


@pytest.mark.parametrize("corpus", SWEEPS)
@pytest.mark.parametrize(
    ("share", "labels"), [(1, "all labels"), (0.25, "a quarter of the labels")]
)
def test_evidence_sums_up_what_the_sweeps_found(corpus, share, labels):
    found = uar_of(corpus, share)
    columns = ("base", "start_base", "start_pseudo_labels", "upstream")
    cells = [f"{found[name]:.1f}" if name in found else "" for name in columns]

    row = f"| {corpus}, {labels} | {' | '.join(cells)} |".replace("|  |", "| |")
    assert row in TEXTS["docs/evidence.md"]


def test_readme_says_what_the_sweeps_found():
    said = " ".join(TEXTS["README.md"].split())
    emodb, ravdess, emovo = (uar_of(corpus, 1) for corpus in SWEEPS)

    def listed(found: dict[str, float]) -> str:
        start, base, upstream = (found[name] for name in ("start_base", "base", "upstream"))
        return f"{start:.0f}, {base:.0f} and {upstream:.0f} %"

    assert (
        f"has {emodb['start_base']:.0f} % UAR, plain training {emodb['base']:.0f} %, the linear "
        f"classifier on Whisper {emodb['upstream']:.0f} %"
    ) in said
    assert f"On RAVDESS they have {listed(ravdess)}, on EMOVO {listed(emovo)}" in said

    few = [uar_of(corpus, 0.25) for corpus in SWEEPS]
    with_them, without, plain = (
        [f"{found[name]:.0f}" for found in few]
        for name in ("start_pseudo_labels", "start_base", "base")
    )
    assert "{} % on EmoDB, {} % on RAVDESS and {} % on EMOVO. ".format(*with_them) in said
    assert "Without them it has {}, {} and {} %, ".format(*without) in said
    assert "and plain training {}, {} and {} % ".format(*plain) in said
