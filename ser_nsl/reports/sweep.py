"""The report of a sweep: one HTML page, the same in Markdown, and its numbers as JSON."""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

import ser_nsl
from ser_nsl.corpora.manifest import corpus_title
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.evaluation.statistics import (
    FEWEST_SPEAKERS,
    Comparison,
    Difference,
    Setting,
    arm_place,
    compare,
    compare_validation,
    pair,
    sum_confusion,
    tabulate_runs,
)
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import ARMS, Arm, find_arm
from ser_nsl.pipeline.run_sweep import RESULTS_NAME, SETTINGS_NAME
from ser_nsl.pipeline.stage import StageResult, versions
from ser_nsl.pipeline.sweep import SweepConfig, list_runs, load_sweep
from ser_nsl.pipeline.sweep_results import Results, read_results
from ser_nsl.reports import figures
from ser_nsl.reports.facts import describe_machine, portable
from ser_nsl.reports.page import Plot, page_templates
from ser_nsl.training.settings import TrainingConfig

_SPACE = "\N{NO-BREAK SPACE}"
_GRAPH = ["n", "alpha", "layer", "distance", "neighbors"]
_SETTING = ["network", "label_share", "method", *_GRAPH]


@dataclass(frozen=True)
class Section:
    """Test scores of one network trained with one share of the labels.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        rows: In the order of the arms.
        labels: For each row the name of its arm, with what tells it from others of that arm.
        sentences: What can be said of each graph that is no control, and of what the probe knows
            without a graph, by label.
    """

    network: str
    label_share: float
    rows: list[Comparison]
    labels: list[str]
    sentences: dict[str, str]


def make_sweep_report(*, run: Path, out: Path) -> StageResult:
    """Makes the report of a sweep, finished or not.

    The same results give the same report on the same machine. A report that `out` already holds
    is replaced; its other files stay.

    Args:
        run: Folder of a sweep, as tools/sweep.py leaves it.
        out: Folder for `report.html` (one file, figures inside), `report.md` with `figures/`,
            and `metrics.json`, which holds the numbers of both; it may be `run`.

    Returns:
        Numbers of runs, of planned ones that are missing, and of figures.

    Raises:
        InputError: If no run is done, a file is missing or malformed, or `out` cannot be written.
    """
    start = time.monotonic()
    results = read_results(run / RESULTS_NAME)
    if not results:
        raise InputError(f"{run / RESULTS_NAME}: holds no run; run tools/sweep.py first.")
    if (out / "figures").exists() and not (out / "metrics.json").is_file():
        raise InputError(f"out: {out}/figures is of no report; choose another folder or move it.")
    config = load_sweep(str(run / SETTINGS_NAME))
    content = _gather(config, results)
    plots = [plot for group in content["plots"].values() for plot in group]
    pages = {
        name: _TEMPLATES.get_template(f"sweep_{name}.j2").render(content)
        for name in ("report.html", "report.md")
    }
    pages["metrics.json"] = json.dumps(_metrics(content), indent=1, allow_nan=False) + "\n"
    _publish(out, pages, plots)
    counts = {"runs": len(results), "missing": content["missing"], "figures": len(plots)}
    return StageResult("make_sweep_report", out, counts, round(time.monotonic() - start, 3))


def _gather(config: SweepConfig, results: Results) -> dict[str, Any]:
    """Everything that the pages say."""
    runs = tabulate_runs(results)
    scored = runs[runs["test"]]
    planned = list_runs(config)
    comparisons = compare(results, planned)
    (network,) = _most(scored if len(scored) else runs, ["network"]) or ("",)
    graph = _most(scored[(scored["network"] == network) & (scored["n"] > 0)], _GRAPH)
    classes = _classes(scored)
    sections = sorted(_sections(comparisons), key=lambda section: section.network != network)
    return {
        "config": config,
        "corpus": corpus_title(config.target.corpus),
        "version": ser_nsl.__version__,
        "runs": len(results),
        "planned": len(planned),
        "missing": sum(each not in results for each in planned),
        "network": network,
        "graph": graph and _describe_graph(graph),
        "classes": classes,
        "comparisons": comparisons,
        "summary": _summarize(comparisons),
        "sections": sections,
        "by_network": _by_network(comparisons),
        "choosing": _choosing(config, results),
        "grids": _count_grids(config, results),
        "durations": _durations(runs),
        "folds": _folds(config, scored),
        "seeds": sorted(set(runs["seed"])),
        "upstream": _describe_upstream(config, {find_arm(each) for each in runs["method"]}),
        "training": _describe_training(config.training),
        "joined": config.joined,
        "machine": describe_machine(),
        "versions": versions(),
        "fewest_speakers": FEWEST_SPEAKERS,
        "plots": {
            "shares": list(_draw_shares(comparisons, graph)),
            "differences": list(_draw_differences(sections)),
            "purity": list(_draw_purity(comparisons)),
            "confusion": list(_draw_confusion(scored, network, graph, classes)),
            "maps": list(_draw_maps(config, results)),
        },
    }


def _most(runs: pd.DataFrame, columns: list[str]) -> tuple | None:
    """The values that most runs have; the first among equals, None without runs."""
    counts = runs.groupby(columns, sort=False).size()
    if counts.empty:
        return None
    most = counts.idxmax()
    return most if isinstance(most, tuple) else (most,)


def _classes(scored: pd.DataFrame) -> list[str]:
    """Names of the classes; numbers where the results tell none."""
    if scored.empty:
        return []
    named = scored["classes"].dropna()
    if len(named):
        return list(named.iloc[0])
    return [str(number) for number in range(1, len(scored["confusion_matrix"].iloc[0]) + 1)]


def _describe_graph(graph: tuple[int, float, str, str, str]) -> str:
    return ", ".join(_parts(graph))


def _parts(graph: tuple[int, float, str, str, str]) -> tuple[str, ...]:
    n, alpha, layer, distance, neighbors = graph
    return f"n {n}", f"α {alpha:g}", layer, distance.replace("_", "-"), neighbors


def _labels(settings: Sequence[Setting]) -> list[str]:
    """Names of arms, with that of their settings in which those of one arm differ."""
    graphs = defaultdict(list)
    for setting in settings:
        graphs[setting.method].append(setting.graph)
    labels = []
    for setting in settings:
        columns = zip(_parts(setting.graph), *graphs[setting.method], strict=True)
        told = [part for part, *values in columns if len(set(values)) > 1]
        labels.append(" ".join([setting.method, ", ".join(told)]).strip())
    return labels


def _sections(comparisons: Sequence[Comparison]) -> Iterator[Section]:
    groups: dict[tuple[str, float], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.setting.network, each.setting.label_share), []).append(each)
    for (network, share), rows in groups.items():
        labels = _labels([row.setting for row in rows])
        yield Section(
            network=network,
            label_share=share,
            rows=rows,
            labels=labels,
            sentences={
                label: sentence
                for label, row in zip(labels, rows, strict=True)
                if row.runs and (sentence := _sentence(row))
            },
        )


def _sentence(row: Comparison) -> str:
    """What can be said of an arm; nothing of controls that have a graph."""
    arm, judged = find_arm(row.setting.method), [_judge(row.against_base, "base")]
    if arm.guessed and arm.likeness is None:
        return f"{judged[0]}, with what the probe knows but without a graph."
    if not _learns_from_graph(row.setting.method):
        return ""
    if not row.setting.alpha:
        return f"{judged[0]}, with unlabelled clips in the batch but no weight on the graph."
    if not arm.guessed:
        judged.append(_judge(row.against_random, "the random graph"))
    if row.against_guessed is not None:
        judged.append(_judge(row.against_guessed, "guessed labels without a graph"))
    return "; it ".join(judged) + "."


def _learns_from_graph(method: str) -> bool:
    """Whether the arm has a graph that is no control."""
    arm = find_arm(method)
    return arm.likeness is not None and arm.control is None


def _judge(difference: Difference | None, reference: str) -> str:
    """What can be said of a difference; never that it is there when chance may explain it."""
    if difference is None:
        return f"has no runs to compare with {reference}"
    side = "below" if difference.mean < 0 else "above"
    points = f"{abs(100 * difference.mean):.1f} points {side}"
    count = len(difference.by_speaker)
    speakers = f"{count} {'speaker' if count == 1 else 'speakers'}"
    if difference.low is None or difference.high is None:
        return f"is {points} {reference} on {speakers}, too few to tell"
    chance = f"p{_SPACE}{_probability(difference.p_flips)}"
    interval = f"(95{_SPACE}% interval {_interval(difference)}, {chance}, {speakers})"
    if difference.direction:
        return f"is {points} {reference} {interval}"
    return f"cannot be told from {reference}: {points} {interval}"


def _summarize(comparisons: Sequence[Comparison]) -> str:
    """How often a graph is above or below base and the random graph."""
    of_graphs = [
        each
        for each in comparisons
        if _learns_from_graph(each.setting.method) and each.setting.alpha
    ]
    parts = []
    for reference, name in (("against_base", "base"), ("against_random", "the random graph")):
        found = [getattr(each, reference) for each in of_graphs]
        judged = [each.direction for each in found if each is not None and each.low is not None]
        if judged:
            parts.append(
                f"Against {name}, by more than chance explains: {judged.count(1)} of "
                f"{len(judged)} graph settings are above, {judged.count(-1)} below."
            )
        else:
            parts.append(
                f"Against {name} nothing can be said yet: no graph setting has been tested on "
                f"{FEWEST_SPEAKERS} speakers."
            )
    return " ".join(parts)


def _by_network(comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """Networks side by side, at the largest share of labels that two have; None with one only."""
    done = [each for each in comparisons if each.runs]
    networks = defaultdict(set)
    for each in done:
        networks[each.setting.label_share].add(each.setting.network)
    shares = [share for share, names in networks.items() if len(names) > 1]
    if not shares:
        return None
    share = max(shares)
    rows: dict[tuple, dict[str, Comparison]] = defaultdict(dict)
    for each in done:
        if each.setting.label_share == share:
            rows[each.setting.method, each.setting.graph][each.setting.network] = each
    return {
        "label_share": share,
        "networks": sorted(networks[share]),
        "rows": sorted(rows.items(), key=lambda row: (arm_place(row[0][0]), row[0][1])),
    }


def _choosing(config: SweepConfig, results: Results) -> dict[str, list[dict[str, Any]]]:
    """Validation scores of the grids that score no test speaker."""
    return {
        name: [
            row | {"mean": or_none(row["mean"]), "sd": or_none(row["sd"])}
            for row in compare_validation(results, list_runs(config, [name])).to_dict("records")
        ]
        for name, grid in config.grids.items()
        if not grid.test and any(run in results for run in list_runs(config, [name]))
    }


def _count_grids(config: SweepConfig, results: Results) -> list[dict[str, Any]]:
    grids = {name: list_runs(config, [name]) for name in config.grids}
    return [
        {
            "grid": name,
            "default": name in config.default,
            "runs": len(runs),
            "done": sum(run in results for run in runs),
        }
        for name, runs in grids.items()
    ]


def _durations(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Wall time of the runs, by what it depends on most."""
    kinds = ["network", "label_share", "neighbors", "n"]
    seconds = runs.groupby(kinds)["seconds"]
    summary = seconds.agg(["count", "min", "median", "max", "sum"]).reset_index()
    return summary.to_dict("records")


def _folds(config: SweepConfig, scored: pd.DataFrame) -> list[dict[str, Any]]:
    clips = {fold: int(sum_confusion(own[:1]).sum()) for fold, own in scored.groupby("fold")}
    return [
        {
            "fold": number,
            "test": [*fold.test],
            "val": [*fold.val],
            "split": fold.split and _describe_split(fold.split),
            "clips": clips.get(number),
        }
        for number, fold in enumerate(config.folds)
    ]


def _describe_split(split: SplitConfig) -> str:
    """The method, and its settings that are not as usual."""
    usual = asdict(SplitConfig()) | {"method": split.method}
    others = [f"{name} {value}" for name, value in asdict(split).items() if value != usual[name]]
    return ", ".join([split.method, *others])


def _describe_upstream(config: SweepConfig, arms: Collection[Arm]) -> str:
    """The checkpoint, and how the arms that there are use its embeddings."""
    likenesses = {arm.likeness for arm in arms} - {None}
    parts = [f"wav2vec 2.0, {portable(config.upstream)}"]
    if likenesses - {"paper"}:
        parts.append(
            "for graphs the mean over each speaker's clips is taken away from embeddings, and "
            "edges join clips of two speakers only"
        )
    if "paper" in likenesses:
        parts.append("the paper's graph has embeddings as they are, and edges within speakers too")
    if any(arm.joins for arm in arms):
        parts.append("transfer has embeddings as they are")
    return "; ".join(parts)


def _describe_training(training: TrainingConfig) -> str:
    """The settings that are most often asked for, and all others that are not as usual."""
    told = {"epochs", "batch_size", "learning_rate", "decay", "decay_epochs", "keep", "precision"}
    set_by_runs = {"alpha", "layer", "distance", "neighbors", "edges", "label_share", "seed"}
    set_by_runs |= {"epoch_steps"}
    flat, usual = (pd.json_normalize(asdict(each)).iloc[0] for each in (training, TrainingConfig()))
    others = [
        f"{name} {value}"
        for name, value in flat.items()
        if name not in told | set_by_runs and value != usual[name]
    ]
    parts = [
        f"{training.epochs} epochs, each of as many steps as show every training clip once",
        f"batches of {training.batch_size}",
        f"Adam from {training.learning_rate:g}, times {training.decay:g} every "
        f"{training.decay_epochs} epochs",
        training.precision,
        *others,
    ]
    kept = "the epoch of the best validation UAR" if training.keep == "best" else "the last epoch"
    return f"{', '.join(parts)}; {kept} is kept"


_CURVES = {
    "graphs": [name for name in ARMS if name in ("base", "guessed") or _learns_from_graph(name)],
    "controls": ["base", "nsl", *(name for name, arm in ARMS.items() if arm.control)],
    "transfer": [
        "base",
        "nsl",
        *(name for name, arm in ARMS.items() if arm.method not in ("base", "nsl")),
    ],
}
"""Which arms stand in one figure, so that lines can be told apart."""


def _draw_shares(comparisons: Sequence[Comparison], graph: tuple | None) -> Iterator[Plot]:
    """UAR over the share of labels, of networks that were trained with several shares."""
    rows = [
        asdict(each.setting) | {"mean": each.uar, "sd": each.uar_sd_of_seeds}
        for each in comparisons
        if each.runs and each.setting.graph in (graph, (0, 0.0, "", "", ""))
    ]
    table = pd.DataFrame(rows, columns=[*_SETTING, "mean", "sd"])
    table = table.astype({"mean": float, "sd": float})
    for network, own in table.groupby("network"):
        if own["label_share"].nunique() < 2:
            continue
        drawn: set[str] = set()
        for name, arms in _CURVES.items():
            curves = {
                arm: own[own["method"] == arm].set_index("label_share")[["mean", "sd"]]
                for arm in arms
                if arm in set(own["method"])
            }
            if curves.keys() <= drawn:
                continue
            drawn |= curves.keys()
            yield Plot(
                f"{network}_shares_{name}",
                f"Curves: UAR of {network} over the share of labels used, {', '.join(curves)}.",
                figures.share_curves(f"UAR of {network}: {name}", curves),
            )


def _draw_differences(sections: Sequence[Section]) -> Iterator[Plot]:
    for section in sections:
        drawn = {}
        for label, row in zip(section.labels, section.rows, strict=True):
            found = {
                "against base": row.against_base,
                "against random": row.against_random,
                "against guessed": row.against_guessed,
            }
            drawn[label] = {
                name: (each.mean, each.low, each.high) for name, each in found.items() if each
            }
        drawn = {label: found for label, found in drawn.items() if found}
        share = f"{100 * section.label_share:g}"
        if drawn:
            yield Plot(
                f"{section.network}_{share}_differences",
                f"Points with intervals: differences in UAR of {section.network} at {share} % of "
                f"the labels, {', '.join(dict.fromkeys(chain(*drawn.values())))}.",
                figures.differences(f"{section.network}, {share}% of the labels", drawn),
            )


def _draw_purity(comparisons: Sequence[Comparison]) -> Iterator[Plot]:
    """Gain over the purity of the graph, wherever graphs were made to a purity."""
    groups: dict[tuple, dict[str, Comparison]] = defaultdict(dict)
    for each in comparisons:
        arm = find_arm(each.setting.method)
        one_of_two = arm.control == "random" and arm.edges == "agreeing"
        if each.against_base and arm.likeness and not arm.guessed and not one_of_two:
            key = (each.setting.network, each.setting.label_share, each.setting.graph)
            groups[key][each.setting.method] = each
    for (network, share, graph), methods in groups.items():
        if not any(name.startswith("purity_") for name in methods):
            continue
        gains = {
            name: (
                each.purity,
                each.against_base.mean,
                each.against_base.low,
                each.against_base.high,
            )
            for name, each in methods.items()
            if each.against_base
        }
        columns = ["purity", "mean", "low", "high"]
        table = pd.DataFrame.from_dict(gains, orient="index", columns=columns, dtype=float)
        yield Plot(
            "_".join([network, f"{100 * share:g}", "purity", *(f"{part}" for part in graph)]),
            f"Curve: gain of {network} over base at {100 * share:g} % of the labels, against the "
            "share of the graph's edges that join one emotion.",
            figures.gain_by_purity(f"{network}, {100 * share:g}% of the labels", table),
        )


def _draw_confusion(
    scored: pd.DataFrame, network: str, graph: tuple | None, classes: Sequence[str]
) -> Iterator[Plot]:
    """Of base and the graph that most runs have, at the largest share of labels of both."""
    own = scored[scored["network"] == network]
    used = pd.Series([setting.graph for setting in own["setting"]], index=own.index, dtype=object)
    with_graph = own[own["method"].isin(filter(_learns_from_graph, ARMS)) & (used == graph)]
    most = _most(with_graph, ["method"])
    if most is None:
        return
    base, nsl = own[own["method"] == "base"], with_graph[with_graph["method"] == most[0]]
    shares = set(base["label_share"]) & set(nsl["label_share"])
    if not shares:
        return
    share = max(shares)
    pairs = pair(*(runs[runs["label_share"] == share] for runs in (base, nsl)))
    for name, runs in zip(("base", most[0]), pairs, strict=True):
        if runs.empty:
            return
        yield Plot(
            f"{network}_{100 * share:g}_confusion_{name}",
            f"Confusion matrix of {network}, {name} at {100 * share:g} % of the labels: rows true, "
            "columns recognised.",
            figures.confusion_matrix(
                f"{network} {name}, {100 * share:g}% of the labels", sum_confusion(runs), classes
            ),
        )


_MAP = ["network", "label_share", "method", "neighbors", "layer", "distance"]


def _draw_maps(config: SweepConfig, results: Results) -> Iterator[Plot]:
    """Validation UAR over n and alpha, of grids that have several of both."""
    for name, grid in config.grids.items():
        if len(grid.n) < 2 or len(grid.alpha) < 2:
            continue
        table = compare_validation(results, list_runs(config, [name]))
        table = table[(table["n"] > 0) & (table["runs"] > 0)]
        low, high = table["mean"].min(), table["mean"].max()
        maps = table.groupby(_MAP, sort=False)
        for (network, share, method, neighbors, layer, distance), own in maps:
            scores = own.pivot_table(index="n", columns="alpha", values="mean")
            scores = scores.rename_axis(index="neighbours n", columns="graph weight α")
            yield Plot(
                "_".join([name, network, f"{100 * share:g}", method, neighbors, layer, distance]),
                f"Map: validation UAR of {network}, {method} at {layer} ({distance}), "
                f"{100 * share:g} % of the labels, neighbours from {neighbors}, over n and alpha.",
                figures.setting_map(f"{network} {method}, {layer}", scores, low=low, high=high),
            )


def _metrics(content: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the pages, as plain data without paths of the machine."""
    config = content["config"]
    kept = ("runs", "planned", "missing", "classes", "seeds", "folds", "grids", "durations")
    return {
        "name": config.name,
        "title": config.title,
        "caution": config.caution,
        "training": asdict(config.training),
        **{name: content[name] for name in kept},
        "comparisons": [asdict(each) for each in content["comparisons"]],
        "validation": {
            name: [{key: value for key, value in row.items() if key != "setting"} for row in rows]
            for name, rows in content["choosing"].items()
        },
        "machine": content["machine"],
        "ser_nsl": content["version"],
        "versions": content["versions"],
    }


def _publish(out: Path, pages: Mapping[str, str], plots: Sequence[Plot]) -> None:
    """Writes pages and figures whole under their names; figures of an earlier report go."""
    drawn, begun = out / "figures", out / ".figures"
    try:
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        for plot in plots:
            (begun / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
        for name, page in pages.items():
            (out / f".{name}").write_text(page, encoding="utf-8")
        shutil.rmtree(drawn, ignore_errors=True)
        begun.rename(drawn)
        for name in pages:
            (out / f".{name}").replace(out / name)
    except OSError as error:
        raise InputError(
            f"out: {out} cannot be written ({error.strerror}); choose a folder you may write to."
        ) from error


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _spread(mean: float | None, sd: float | None) -> str:
    return _percent(mean) if sd is None else f"{_percent(mean)} ± {_percent(sd)}"


def _points(difference: Difference | None) -> str:
    return "" if difference is None else f"{_hundredfold(difference.mean):+.1f}"


def _interval(difference: Difference | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{_hundredfold(difference.low):.1f} to {_hundredfold(difference.high):.1f}"


def _hundredfold(value: float) -> float:
    """Points, to be shown with one decimal, never as -0.0."""
    return round(100 * value, 1) + 0.0


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


_TEMPLATES = page_templates(
    percent=_percent,
    spread=_spread,
    points=_points,
    interval=_interval,
    probability=_probability,
    graph=lambda graph: _describe_graph(graph) if graph[0] else "",
    arm_title=lambda method: find_arm(method).title,
)
