"""What the report of a sweep says: tables and sentences."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

import ser_nsl
from ser_nsl.corpora.manifest import corpus_title
from ser_nsl.evaluation.statistics import FEWEST_SPEAKERS, bootstrap_interval, smallest_p
from ser_nsl.pipeline.arms import BASELINES, find_arm
from ser_nsl.pipeline.comparison import (
    Baseline,
    Comparison,
    arm_order,
    compare,
    compare_baselines,
    tabulate_runs,
)
from ser_nsl.pipeline.differences import Closed, Difference
from ser_nsl.pipeline.record import versions
from ser_nsl.pipeline.results import Results
from ser_nsl.pipeline.sweep_config import SweepConfig, list_runs
from ser_nsl.pipeline.sweep_run import LINEAR, SET_BY_RUNS
from ser_nsl.reports.facts import describe_machine, describe_split, portable
from ser_nsl.reports.page import probability
from ser_nsl.reports.trust import warn
from ser_nsl.training.settings import TrainingConfig

_SPACE = "\N{NO-BREAK SPACE}"
_NAMED = {"epochs", "batch_size", "learning_rate", "decay", "decay_epochs", "keep", "precision"}


@dataclass(frozen=True)
class Section:
    """Test scores of one network trained with one share of the labels.

    Attributes:
        network: Name of the network.
        label_share: Share of the training labels that are used.
        rows: Comparisons in the order of the arms, by label: the name of the arm, with the settings
            in which it differs from others of that arm.
        sentences: What can be said of each arm that is no control, by label.
        baselines: Linear classifiers that know the same labels.
        warnings: What the scores mean, in words.
    """

    network: str
    label_share: float
    rows: dict[str, Comparison]
    sentences: dict[str, str]
    baselines: list[Baseline]
    warnings: list[str]


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
    trained = runs[runs["network"] != LINEAR]
    scored = trained[trained["test"]]
    every_trial = [run for run in list_runs(config, ["all"]) if not run.test]
    comparisons = compare(results, [*planned, *every_trial])
    baselines = compare_baselines(results)
    network = _most([*(scored if len(scored) else trained)["network"]]) or ""
    sections = [*_sections(comparisons, baselines, scored)]
    sections.sort(key=lambda section: section.network != network)
    graphs = [each.graph for each in scored["setting"] if each.network == network and each.n]
    return {
        "config": config,
        "corpus": config.target.name or corpus_title(config.target.corpus),
        "version": ser_nsl.__version__,
        "runs": len(results),
        "planned": len(planned),
        "missing": sum(run not in results for run in planned),
        "network": network,
        "graph": _most(graphs),
        "classes": [] if scored.empty else list(scored["classes"].iloc[0]),
        "scored": scored,
        "comparisons": comparisons,
        "baselines": baselines,
        "tests": _describe_tests(comparisons),
        "trials": {name: _describe_changes(own) for name, own in config.budget.items()},
        "summary": _summarize(comparisons),
        "sections": sections,
        "by_network": _by_network(comparisons),
        "grids": _count_grids(config, results),
        "durations": _durations(runs),
        "folds": _folds(config, scored),
        "seeds": sorted(set(trained["seed"])),
        "upstream": _describe_upstream(config, set(trained["method"])),
        "training": _describe_training(config.training),
        "joined": config.joined,
        "machine": describe_machine(),
        "versions": versions(),
        "fewest_speakers": FEWEST_SPEAKERS,
    }


def _most(values: Sequence[Any]) -> Any:
    """The value that comes most often; the first among equals, None without any."""
    return max(counts, key=counts.__getitem__) if (counts := Counter(values)) else None


def describe_graph(graph: Sequence[Any]) -> str:
    """How a graph is used, in words; what trials set is left out."""
    return ", ".join(filter(None, _parts(graph)))


def _parts(graph: Sequence[Any]) -> tuple[str, ...]:
    n, alpha, layer, distance, neighbors = graph
    weight = "" if alpha is None else f"α {alpha:g}"
    return f"n {n}", weight, layer or "", (distance or "").replace("_", "-"), neighbors or ""


def _describe_changes(changes: Mapping[str, Any]) -> str:
    """What a trial changes, in words."""
    flat = pd.json_normalize(dict(changes)).to_dict("records")
    return ", ".join(f"{name} {value}" for row in flat for name, value in row.items())


def _describe_tests(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The smallest p that each test can give: by itself, and among all differences."""
    found = [each for one in comparisons for each in one.differences.values()]
    units: dict[str, list[tuple[int, int]]] = {
        "folds": [(each.folds, 1) for each in found if each.p_folds is not None],
        "speakers": [(len(each.by_speaker), 1) for each in found if each.p_speakers is not None],
        "clips": [(each.clips, len(each.p_clips)) for each in found if each.p_clips],
    }
    tests = []
    for unit, own in units.items():
        if own:
            count, number = max(own)[0], sum(tests_of for _, tests_of in own)
            p = smallest_p(count)
            tests.append({"unit": unit, "count": count, "tests": number, "p": p})
            tests[-1]["p_corrected"] = min(1.0, number * p)
    return tests


def _sections(
    comparisons: Sequence[Comparison], baselines: Sequence[Baseline], scored: pd.DataFrame
) -> Iterator[Section]:
    groups: dict[tuple[str, float], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.setting.network, each.setting.label_share), []).append(each)
    for (network, share), group in groups.items():
        rows = dict(zip(_labels(group), group, strict=True))
        sentences = {label: _sentence(row) for label, row in rows.items() if row.runs}
        said = {label: sentence for label, sentence in sentences.items() if sentence}
        known = [each for each in baselines if each.label_share == share]
        warnings = [*_warn(rows, known, scored)]
        yield Section(network, share, rows, said, known, warnings)


def _warn(
    rows: Mapping[str, Comparison], baselines: Sequence[Baseline], scored: pd.DataFrame
) -> Iterator[str]:
    """Says what scores of arms mean that are no controls."""
    arms = {
        label: row
        for label, row in rows.items()
        if row.uar is not None and not find_arm(row.setting.method).control
    }
    for label, row in arms.items():
        folds = scored[scored["setting"] == row.setting].groupby("fold")["confusion_matrix"].first()
        interval = bootstrap_interval([*row.by_speaker.values()])
        yield from warn(
            label,
            uar=row.uar or 0.0,
            low=interval and interval[0],
            train_uar=row.train_uar,
            clips=np.sum([*folds], axis=0).sum(axis=1).tolist(),
        )
    for each in baselines:
        below = [label for label, row in arms.items() if (row.uar or 0.0) < each.uar]
        if below:
            yield (
                f"Below the linear classifier on {BASELINES[each.kind]} ({each.uar:.1%} UAR): "
                f"{', '.join(below)}."
            )


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
    """What can be said of an arm; nothing of base and of controls."""
    arm = find_arm(row.setting.method)
    if arm.control or row.setting.method == "base":
        return ""
    judged = [_judge(row.against_base, "base") + _describe_closed(row.closed)]
    if arm.pseudo_labels and not arm.has_graph:
        return f"{judged[0]}, with what the probe knows but without a graph."
    if _is_unweighted(row):
        return f"{judged[0]}, with unlabelled clips in the batch but no weight on the graph."
    if row.against_random is not None:
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
    interval = (
        f"95{_SPACE}% interval {show_interval(difference)}; " if difference.low is not None else ""
    )
    chance = f"({interval}{show_tests(difference)}; {speakers})"
    if difference.direction:
        return f"is {points} {reference} {chance}"
    if difference.differs_on_clips:
        return (
            f"is {points} {reference} on these clips, which other speakers may not repeat {chance}"
        )
    if difference.low is None:
        return f"is {points} {reference} on {speakers}, too few to tell"
    return f"cannot be distinguished from {reference}: {points} {chance}"


def _describe_closed(closed: Closed | None) -> str:
    if closed is None or closed.share is None:
        return ""
    interval = show_closed_interval(closed)
    bounds = f" ({interval})" if interval else ""
    return f" and closes {show_closed(closed)}{bounds} of the distance to the upstream"


def _summarize(comparisons: Sequence[Comparison]) -> str:
    """How often arms that are no controls are above or below base and the random graph."""
    arms = [
        each
        for each in comparisons
        if not find_arm(each.setting.method).control and not _is_unweighted(each)
    ]
    parts = []
    for reference, name in (("base", "base"), ("random", "the random graph")):
        found = [each.differences[reference] for each in arms if reference in each.differences]
        judged = [each.direction for each in found if each.low is not None]
        if judged:
            parts.append(
                f"Against {name}, by more than chance explains: {judged.count(1)} of "
                f"{len(judged)} settings are above, {judged.count(-1)} below."
            )
        else:
            parts.append(
                f"Against {name} nothing can be said yet: no setting has been tested on "
                f"{FEWEST_SPEAKERS} speakers."
            )
    return " ".join(parts)


def _is_unweighted(row: Comparison) -> bool:
    """Whether a graph has no weight, so that it shows unlabelled clips alone."""
    return find_arm(row.setting.method).has_graph and row.setting.alpha == 0


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
    named = runs.assign(neighbors=runs["neighbors"].fillna("by trial"))
    seconds = named.groupby(["network", "label_share", "neighbors", "n"])["seconds"]
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
    layers = f", layers {', '.join(map(str, config.layers))}" if config.layers else ""
    parts = [portable(config.upstream) + layers]
    if any(arm.has_graph and not arm.paper for arm in arms):
        centred = "the mean over each speaker's clips is subtracted from embeddings, and "
        parts.append(
            f"for graphs {centred if config.center else ''}edges join clips of two speakers only"
        )
    if any(arm.paper for arm in arms):
        parts.append("the paper's graph has embeddings as they are, and edges within speakers too")
    if config.center and any(arm.method in ("embedding", "similarity") for arm in arms):
        parts.append("embeddings that teach are less the mean over each speaker's clips")
    if any(arm.is_transfer for arm in arms):
        parts.append("transfer has embeddings as they are")
    return "; ".join(parts)


def _describe_training(training: TrainingConfig) -> str:
    """The settings that are most often asked for, and all others that are not the defaults."""
    flat, usual = (pd.json_normalize(asdict(each)).iloc[0] for each in (training, TrainingConfig()))
    others = [
        f"{name} {value}"
        for name, value in flat.items()
        if name not in _NAMED | {*SET_BY_RUNS, "epoch_steps"} and value != usual[name]
    ]
    parts = [
        f"up to {training.epochs} epochs, each of as many steps as show every training clip once",
        f"batches of {training.batch_size}",
        f"Adam from {training.learning_rate:g}, times {training.decay:g} every "
        f"{training.decay_epochs} epochs",
        training.precision,
        *others,
    ]
    return ", ".join(parts)


def show_interval(difference: Difference | None) -> str:
    """The ends of an interval in points; empty where it is unknown."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return f"{hundredfold(difference.low):.1f} to {hundredfold(difference.high):.1f}"


def show_tests(difference: Difference | None) -> str:
    """The corrected p of each test that could be made, in words."""
    if difference is None:
        return "no test"
    clips = [probability(p) for p in sorted({*difference.p_clips})]
    tests = {
        "folds": probability(difference.p_folds),
        "speakers": probability(difference.p_speakers),
        "clips": " to ".join(dict.fromkeys([clips[0], clips[-1]])) if clips else "",
    }
    shown = [f"{unit}{_SPACE}{p}" for unit, p in tests.items() if p]
    return f"p by {', '.join(shown)}" if shown else "no test"


def show_closed(closed: Closed | None) -> str:
    """Share of the distance in percent; empty where there is none."""
    if closed is None or closed.share is None:
        return ""
    return f"{hundredfold(closed.share):.0f}{_SPACE}%"


def show_closed_interval(closed: Closed | None) -> str:
    """The ends of its interval in percent; empty where it is unknown."""
    if closed is None or closed.low is None or closed.high is None:
        return ""
    return f"{hundredfold(closed.low):.0f} to {hundredfold(closed.high):.0f}"


def hundredfold(value: float) -> float:
    """Points, to be shown with one decimal, never as -0.0."""
    return round(100 * value, 1) + 0.0
