"""What the report of a sweep says: tables and sentences."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

import ser_nsl
from ser_nsl.corpora.manifest import corpus_title
from ser_nsl.evaluation.statistics import FEWEST_SPEAKERS
from ser_nsl.graph.statistics import or_none
from ser_nsl.pipeline.arms import find_arm
from ser_nsl.pipeline.comparison import (
    Comparison,
    Difference,
    arm_order,
    compare,
    compare_validation,
    tabulate_runs,
)
from ser_nsl.pipeline.experiment import SweepConfig, list_runs
from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.stage import versions
from ser_nsl.reports.facts import describe_machine, describe_split, portable
from ser_nsl.training.settings import TrainingConfig

_SPACE = "\N{NO-BREAK SPACE}"
_GRAPH = ["n", "alpha", "layer", "distance", "neighbors"]
_NAMED = {"epochs", "batch_size", "learning_rate", "decay", "decay_epochs", "keep", "precision"}
_SET_BY_RUNS = {"alpha", "layer", "distance", "neighbors", "edges", "label_share", "seed"}


@dataclass(frozen=True)
class Section:
    """Test scores of one network trained with one share of the labels.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        rows: Comparisons in the order of the arms, by label: the name of the arm, with the settings
            in which it differs from others of that arm.
        sentences: What can be said of each graph that is no control, and of what the probe knows
            without a graph, by label.
    """

    network: str
    label_share: float
    rows: dict[str, Comparison]
    sentences: dict[str, str]


def gather_sweep_facts(config: SweepConfig, results: Results) -> dict[str, Any]:
    """Gathers everything that the pages say.

    Args:
        config: The sweep.
        results: Its results; at least one.

    Returns:
        Facts by name, as the templates use them; `scored` is the table of runs with test scores,
        `graph` how most of these use a graph (None without).
    """
    runs, planned = tabulate_runs(results), list_runs(config)
    scored = runs[runs["test"]]
    comparisons = compare(results, planned)
    (network,) = _most(scored if len(scored) else runs, ["network"]) or ("",)
    sections = sorted(_sections(comparisons), key=lambda section: section.network != network)
    return {
        "config": config,
        "corpus": config.target.name or corpus_title(config.target.corpus),
        "version": ser_nsl.__version__,
        "runs": len(results),
        "planned": len(planned),
        "missing": sum(run not in results for run in planned),
        "network": network,
        "graph": _most(scored[(scored["network"] == network) & (scored["n"] > 0)], _GRAPH),
        "classes": [] if scored.empty else list(scored["classes"].iloc[0]),
        "scored": scored,
        "comparisons": comparisons,
        "summary": _summarize(comparisons),
        "sections": sections,
        "by_network": _by_network(comparisons),
        "choosing": _choosing(config, results),
        "grids": _count_grids(config, results),
        "durations": _durations(runs),
        "folds": _folds(config, scored),
        "seeds": sorted(set(runs["seed"])),
        "upstream": _describe_upstream(config, set(runs["method"])),
        "training": _describe_training(config.training),
        "joined": config.joined,
        "machine": describe_machine(),
        "versions": versions(),
        "fewest_speakers": FEWEST_SPEAKERS,
    }


def _most(runs: pd.DataFrame, columns: list[str]) -> tuple | None:
    """The values that most runs have; the first among equals, None without runs."""
    counts = runs.groupby(columns, sort=False).size()
    if counts.empty:
        return None
    most = counts.idxmax()
    return most if isinstance(most, tuple) else (most,)


def describe_graph(graph: tuple[int, float, str, str, str]) -> str:
    """How a graph is used, in words."""
    return ", ".join(_parts(graph))


def _parts(graph: tuple[int, float, str, str, str]) -> tuple[str, ...]:
    n, alpha, layer, distance, neighbors = graph
    return f"n {n}", f"α {alpha:g}", layer, distance.replace("_", "-"), neighbors


def _sections(comparisons: Sequence[Comparison]) -> Iterator[Section]:
    groups: dict[tuple[str, float], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.setting.network, each.setting.label_share), []).append(each)
    for (network, share), group in groups.items():
        rows = dict(zip(_labels(group), group, strict=True))
        sentences = {label: _sentence(row) for label, row in rows.items() if row.runs}
        said = {label: sentence for label, sentence in sentences.items() if sentence}
        yield Section(network, share, rows, said)


def _labels(rows: Sequence[Comparison]) -> Iterator[str]:
    """Names of arms, with the settings in which rows of one arm differ."""
    graphs = defaultdict(list)
    for row in rows:
        graphs[row.setting.method].append(_parts(row.setting.graph))
    for row in rows:
        columns = zip(_parts(row.setting.graph), *graphs[row.setting.method], strict=True)
        distinct = [part for part, *values in columns if len(set(values)) > 1]
        yield " ".join([row.setting.method, ", ".join(distinct)]).strip()


def _sentence(row: Comparison) -> str:
    """What can be said of an arm; nothing of controls that have a graph."""
    arm, judged = find_arm(row.setting.method), [_judge(row.against_base, "base")]
    if arm.pseudo_labels and not arm.has_graph:
        return f"{judged[0]}, with what the probe knows but without a graph."
    if not arm.has_real_graph:
        return ""
    if not row.setting.alpha:
        return f"{judged[0]}, with unlabelled clips in the batch but no weight on the graph."
    if not arm.pseudo_labels:
        judged.append(_judge(row.against_random, "the random graph"))
    if row.against_pseudo_labels is not None:
        judged.append(_judge(row.against_pseudo_labels, "pseudo-labels without a graph"))
    return "; it ".join(judged) + "."


def _judge(difference: Difference | None, reference: str) -> str:
    """What can be said of a difference; never that it is there when chance may explain it."""
    if difference is None:
        return f"has no runs to compare with {reference}"
    side = "below" if difference.mean < 0 else "above"
    points = f"{abs(100 * difference.mean):.1f} points {side}"
    count = len(difference.by_speaker)
    speakers = f"{count} {'speaker' if count == 1 else 'speakers'}"
    if difference.low is None:
        return f"is {points} {reference} on {speakers}, too few to tell"
    chance = f"p{_SPACE}{show_probability(difference.p_flips)}"
    interval = f"(95{_SPACE}% interval {show_interval(difference)}, {chance}, {speakers})"
    if difference.direction:
        return f"is {points} {reference} {interval}"
    return f"cannot be distinguished from {reference}: {points} {interval}"


def _summarize(comparisons: Sequence[Comparison]) -> str:
    """How often a graph is above or below base and the random graph."""
    graphs = [
        each
        for each in comparisons
        if find_arm(each.setting.method).has_real_graph and each.setting.alpha
    ]
    parts = []
    for reference, name in (("against_base", "base"), ("against_random", "the random graph")):
        found = [getattr(each, reference) for each in graphs]
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
    share = max((share for share, names in networks.items() if len(names) > 1), default=None)
    if share is None:
        return None
    rows: dict[tuple, dict[str, Comparison]] = defaultdict(dict)
    for each in done:
        if each.setting.label_share == share:
            rows[each.setting.method, each.setting.graph][each.setting.network] = each
    return {
        "label_share": share,
        "networks": sorted(networks[share]),
        "rows": sorted(rows.items(), key=lambda row: (arm_order(row[0][0]), row[0][1])),
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
    seconds = runs.groupby(["network", "label_share", "neighbors", "n"])["seconds"]
    return seconds.agg(["count", "min", "median", "max", "sum"]).reset_index().to_dict("records")


def _folds(config: SweepConfig, scored: pd.DataFrame) -> list[dict[str, Any]]:
    clips = scored.groupby("fold")["confusion_matrix"].first().map(lambda rows: sum(map(sum, rows)))
    return [
        {
            "fold": number,
            "test": [*fold.test],
            "val": [*fold.val],
            "split": fold.split and describe_split(fold.split),
            "clips": int(clips[number]) if number in clips else None,
        }
        for number, fold in enumerate(config.folds)
    ]


def _describe_upstream(config: SweepConfig, methods: set[str]) -> str:
    """The checkpoint, and how the arms that there are use its embeddings."""
    arms = [find_arm(method) for method in methods]
    parts = [f"wav2vec 2.0, {portable(config.upstream)}"]
    if any(arm.has_graph and not arm.paper for arm in arms):
        centred = "the mean over each speaker's clips is subtracted from embeddings, and "
        parts.append(
            f"for graphs {centred if config.center else ''}edges join clips of two speakers only"
        )
    if any(arm.paper for arm in arms):
        parts.append("the paper's graph has embeddings as they are, and edges within speakers too")
    if any(arm.is_transfer for arm in arms):
        parts.append("transfer has embeddings as they are")
    return "; ".join(parts)


def _describe_training(training: TrainingConfig) -> str:
    """The settings that are most often asked for, and all others that are not the defaults."""
    flat, usual = (pd.json_normalize(asdict(each)).iloc[0] for each in (training, TrainingConfig()))
    others = [
        f"{name} {value}"
        for name, value in flat.items()
        if name not in _NAMED | _SET_BY_RUNS | {"epoch_steps"} and value != usual[name]
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


def show_interval(difference: Difference | None) -> str:
    """The ends of an interval in points; empty where it is unknown."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{hundredfold(difference.low):.1f} to {hundredfold(difference.high):.1f}"


def show_probability(value: float | None) -> str:
    """A p; empty where it is unknown."""
    if value is None:
        return ""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def hundredfold(value: float) -> float:
    """Points, to be shown with one decimal, never as -0.0."""
    return round(100 * value, 1) + 0.0
