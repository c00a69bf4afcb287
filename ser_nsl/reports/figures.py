"""The figures of the pages: SVG text, the same bytes for the same numbers.

Each is drawn about as wide as a phone's screen, so that its letters are legible there without
zooming.
"""

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

__all__ = [
    "COLOURS",
    "MARKERS",
    "STYLE",
    "confusion_matrix",
    "degree_histogram",
    "differences",
    "edge_shares",
    "gain_by_purity",
    "labelled_map",
    "learning_curve",
    "setting_map",
    "share_curves",
    "shares_and_chance",
    "update_curves",
    "weight_histogram",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
"""Okabe and Ito's, which colour-blind readers can tell apart, in the order of the figures."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""They go with the colours."""

_ARMS = {
    "base": ("#0072B2", "o"),
    "pseudo_labels": ("#332288", "P"),
    "paper": ("#7A4A2B", ">"),
    "nsl": ("#D55E00", "s"),
    "agreeing": ("#E69F00", "D"),
    "mfcc": ("#009E73", "^"),
    "fused": ("#CC79A7", "v"),
    "probe": ("#222222", "X"),
    "pseudo_labels_fused": ("#AA4499", "d"),
    "pseudo_labels_probe": ("#44AA99", "*"),
    "random": ("#888888", "X"),
    "random_agreeing": ("#999933", "h"),
    "oracle": ("#222222", "p"),
    "add": ("#009E73", "^"),
    "max": ("#CC79A7", "v"),
    "avg": ("#E69F00", "D"),
}
"""Colour and marker of arms that many figures have; others take what is left."""
_EDGE_COLOURS = ("#56B4E9", "#0072B2")
_EDGE_LINES = (("#666666", "solid"), ("#D55E00", (0, (2, 1.2))))
_EDGE_KINDS = {
    "within_class": "one emotion",
    "within_speaker": "one speaker",
    "within_class_across_speakers": "one emotion,\ntwo speakers",
    "within_class_within_speaker": "one emotion,\none speaker",
}
_MOST_NAMES = 21  # then colours come again with the next marker
_LEGEND_COLUMNS = 4
_AROUND_CHANCE = LinearSegmentedColormap.from_list("chance", ["#D55E00", "#ffffff", "#0072B2"])
_INK, _GREY = "#222222", "#bbbbbb"
_WIDTH = 4.1  # inches, 394 px

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ser_nsl",  # else the ids inside the file are random
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
"""What all figures have in common, for `matplotlib.rc_context` or `rcParams`."""

_styled = matplotlib.rc_context(STYLE)


@_styled
def learning_curve(
    title: str,
    curves: Mapping[str, pd.DataFrame],
    kept: Mapping[str, Mapping[int, int]],
    *,
    chance: float | None = None,
) -> str:
    """Draws one quantity over the epochs.

    Args:
        title: The quantity.
        curves: Values by method; one row an epoch, from 1, one column a seed.
        kept: Epochs kept, by method and seed.
        chance: Value by chance; makes the values shares, shown in percent from 0 to 100.

    Returns:
        SVG: thin lines for seeds, thick ones for their mean, markers at the kept epochs.
    """
    figure, axes = _figure(height=2.9)
    for (method, values), (colour, marker) in zip(curves.items(), _styles(curves), strict=True):
        if values.shape[1] > 1:
            axes.plot(values.index, values, color=colour, linewidth=0.8, alpha=0.5)
        axes.plot(values.index, values.mean(axis=1), color=colour, linewidth=2, label=method)
        epochs = [kept[method][seed] for seed in values]
        at_kept = [values.at[epoch, seed] for epoch, seed in zip(epochs, values, strict=True)]
        axes.plot(epochs, at_kept, **_points(marker, colour, size=6))
    if chance is not None:
        axes.axhline(chance, color=_INK, linewidth=1.2, linestyle=":", label="chance")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.set(title=title, xlabel="epoch")
    return _svg(figure, legend=4)


@_styled
def update_curves(
    title: str,
    curves: Mapping[str, pd.Series],
    chosen: Mapping[str, int],
    *,
    chance: float | None = None,
) -> str:
    """Draws validation UAR over the updates.

    Args:
        title: Title of the figure.
        curves: UAR in [0, 1] after each epoch, by label of the arm; the index is in updates.
        chosen: Epochs chosen, from 1, by label.
        chance: UAR by chance.

    Returns:
        SVG: a line for each, with a marker where it was stopped.
    """
    figure, axes = _figure(height=3.4 + 0.09 * len(curves))
    for label, style in zip(curves, _styles(curves), strict=True):
        colour, marker = style
        curve, epoch = curves[label], chosen[label]
        axes.plot(curve.index, curve, color=colour, linewidth=1.6)
        at_chosen = _points(marker, colour, size=8) | {"label": label}
        axes.plot(curve.index[epoch - 1], curve.iloc[epoch - 1], **at_chosen)
    if chance is not None:
        axes.axhline(chance, color=_INK, linewidth=1.2, linestyle=":", label="chance")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set(title=title, xlabel="updates", ylabel="UAR of validation speakers")
    return _svg(figure, legend=3)


@_styled
def confusion_matrix(title: str, counts: np.ndarray, classes: Sequence[str]) -> str:
    """Draws a confusion matrix.

    Args:
        title: Network and method.
        counts: int, shape `(classes, classes)`, rows true.
        classes: Names in the order of the indices.

    Returns:
        SVG: in each cell the percentage of its row, and the count below.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure, axes = _figure(height=3.9)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for place, share in np.ndenumerate(shares):
        text, below = (f"{share:.0%}", str(counts[place])) if counts[place] else ("·", "")
        _write_cell(axes, place, text, below, dark=share > 0.62)
    _label_cells(axes, classes, classes)
    axes.set(title=title, xlabel="recognised", ylabel="true")
    return _svg(figure)


@_styled
def edge_shares(title: str, shares: pd.DataFrame) -> str:
    """Draws what edges join, beside chance.

    Args:
        title: Title of the figure.
        shares: In [0, 1]; one row a kind of edge, its name or one of
            `ser_nsl.graph.statistics.SHARES`; columns two sets of edges, and last `chance`.

    Returns:
        SVG: a bar for each share, a line across the bars of a row for chance.
    """
    figure, axes = _figure(height=3.2 + 0.8 * max(0, len(shares) - 3))
    kinds = np.arange(len(shares))
    sets = list(shares.columns[:-1])
    thickness = 0.7 / len(sets)
    for place, (name, colour) in enumerate(zip(sets, _EDGE_COLOURS, strict=True)):
        y = kinds + (place - (len(sets) - 1) / 2) * thickness
        axes.barh(y, shares[name], height=thickness, color=colour, label=name)
        for height, share in zip(y, shares[name], strict=True):
            # Beside the axes, where the line of chance cannot cross it.
            axes.annotate(
                f"{share:.0%}", (1.02, height), xycoords=("axes fraction", "data"), va="center"
            )
    dashes: dict[str, Any] = {
        "colors": _INK,
        "linewidth": 2,
        "linestyle": (0, (2, 1)),
        "label": "chance",
    }
    axes.vlines(shares["chance"], kinds - 0.42, kinds + 0.42, **dashes)
    axes.set_yticks(kinds, [_EDGE_KINDS.get(kind, kind) for kind in shares.index])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, min(1.0, 1.1 * shares.to_numpy().max()))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="x")
    axes.set_title(title)
    return _svg(figure, legend=3)


@_styled
def degree_histogram(title: str, degrees: Mapping[str, Sequence[int] | np.ndarray]) -> str:
    """Draws how many edges the clips have.

    Args:
        title: Title of the figure.
        degrees: Degree of every clip, for each of two sets of edges.

    Returns:
        SVG: one histogram a set, below each other.
    """
    figure = Figure(figsize=(_WIDTH, 1.6 * len(degrees)), layout="constrained")
    panels = figure.subplots(len(degrees), 1)
    for axes, (name, values), colour in zip(panels, degrees.items(), _EDGE_COLOURS, strict=True):
        width = -(-(max(values) + 1) // 30)  # whole numbers, at most thirty bars
        bins = np.arange(0, max(values) + width + 1, width) - 0.5
        axes.hist(values, bins=bins, color=colour, rwidth=0.9)
        axes.set_ylabel("clips")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        axes.annotate(name, (1, 0.97), xycoords="axes fraction", ha="right", va="top")
    panels[0].set_title(title)
    panels[-1].set_xlabel("edges per clip")
    return _svg(figure)


@_styled
def weight_histogram(title: str, weights: Mapping[str, np.ndarray]) -> str:
    """Draws how similar the ends of edges are.

    Args:
        title: Title of the figure.
        weights: Weights of two sets of edges; the second set is part of the first.

    Returns:
        SVG: the second histogram in front of the first.
    """
    figure, axes = _figure(height=3.2)
    every = np.concatenate(list(weights.values()))
    low, high = every.min(), every.max()
    bins = np.linspace(low, high, 31) if low < high else [low - 0.005, high + 0.005]
    for (name, values), colour in zip(weights.items(), _EDGE_COLOURS, strict=True):
        axes.hist(values, bins=bins, color=colour, rwidth=0.9, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.ticklabel_format(useOffset=False)
    axes.grid(axis="y")
    axes.set(title=title, xlabel="cosine similarity", ylabel="edges")
    return _svg(figure, legend=2)


@_styled
def shares_and_chance(title: str, shares: pd.DataFrame, chance: pd.DataFrame) -> str:
    """Draws which group's edges go to which, beside chance.

    Args:
        title: Title of the figure.
        shares: In [0, 1] or NaN; one row and one column a group, rows add up to 1.
        chance: The same by chance.

    Returns:
        SVG: in each cell the percentage of its row, below it that of chance; blue where it is
        above chance, orange where it is below, the darker the further, up to four times.
    """
    ratio = np.divide(shares, chance, out=np.ones(shares.shape), where=(chance > 0).to_numpy())
    doublings = np.log2(np.clip(np.nan_to_num(ratio, nan=1), 0.25, 4))
    figure, axes = _figure(height=4.1)
    # Paler below chance, where most cells are and least is to be seen.
    shade = TwoSlopeNorm(0, vmin=-5, vmax=2.2)
    axes.pcolormesh(doublings, cmap=_AROUND_CHANCE, norm=shade, edgecolors="white", linewidth=1)
    for place, share in np.ndenumerate(shares.to_numpy()):
        text = "–" if np.isnan(share) else f"{share:.0%}"
        _write_cell(axes, place, text, f"{chance.iat[place]:.0%}", dark=doublings[place] > 1.3)
    _label_cells(axes, shares.columns, shares.index)
    axes.set(title=title, xlabel="to clips of", ylabel="edges from clips of")
    return _svg(figure)


@_styled
def labelled_map(
    title: str,
    points: np.ndarray,
    labels: Sequence[str],
    *,
    unknown: str = "unknown",
    edges: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Draws clips in the plane, coloured by label.

    Args:
        title: What the labels are.
        points: float, shape `(clips, 2)`.
        labels: Label of each clip, `""` where unknown.
        unknown: Name of unknown labels in the legend.
        edges: Which points the edges join, int, shape `(2, edges)`; one kind or two, by name.

    Returns:
        SVG, the points as pixels so that thousands stay small. The 21 labels with the most clips
        have colours and markers; the others and the unknown are grey. Edges of the first kind are
        grey lines, those of the second dashed.
    """
    counts = pd.Series(labels, dtype=str).value_counts()
    counts = (
        counts.sort_index().sort_values(ascending=False, kind="stable").drop("", errors="ignore")
    )
    named = sorted(counts.index[:_MOST_NAMES])
    of_clip = np.asarray(labels, dtype=str)
    rest = len(counts) - len(named)
    width, height = np.ptp(points, axis=0)
    edges = edges or {}
    rows = -(-(len(named) + bool(rest) + ("" in of_clip) + len(edges)) // _LEGEND_COLUMNS)
    figure, axes = _figure(height=0.5 + 0.18 * rows + _WIDTH * np.clip(height / width, 0.5, 1))
    style: dict[str, Any] = {
        "linestyle": "none",
        "markersize": float(np.clip(90 / np.sqrt(len(points)), 2, 6)),
        "markeredgewidth": 0,
        "rasterized": True,
    }
    lines = []
    for (name, ends), (colour, dashes) in zip(edges.items(), _EDGE_LINES, strict=False):
        line: dict[str, Any] = {"colors": colour, "linestyles": [dashes], "linewidths": 0.8}
        line |= {"alpha": 0.6, "zorder": 1, "rasterized": True, "label": name}
        lines.append(axes.add_collection(LineCollection(points[ends.T], **line), autolim=False))
    for chosen, name in (
        (of_clip == "", unknown),
        (~np.isin(of_clip, [*named, ""]), f"{rest} more"),
    ):
        if chosen.any():
            axes.plot(*points[chosen].T, marker="o", color=_GREY, label=name, **style)
    for place, name in enumerate(named):
        turn, which = divmod(place, len(COLOURS))
        marker, colour = MARKERS[(which + turn) % len(MARKERS)], COLOURS[which]
        chosen = points[of_clip == name]
        axes.plot(*chosen.T, marker=marker, color=colour, alpha=0.8, label=name, **style)
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set(visible=True, color="#dddddd")
    axes.set_aspect("equal", adjustable="datalim")
    dots = axes.get_lines()
    legend = figure.legend(
        handles=[*dots[-len(named) :], *dots[: -len(named)], *lines],  # the grey ones last
        loc="outside lower center",
        ncols=_LEGEND_COLUMNS,
        handletextpad=0.2,
        columnspacing=1,
        fontsize=8,
    )
    for handle in filter(None, legend.legend_handles[: len(dots)]):
        handle.set(markersize=6, alpha=1)
    return _svg(figure)


@_styled
def share_curves(title: str, curves: Mapping[str, pd.DataFrame]) -> str:
    """Draws UAR against the share of labels.

    Args:
        title: Title of the figure.
        curves: For each method its `mean` and `sd` in [0, 1], NaN where unknown, by share, above 0
            and at most 1.

    Returns:
        SVG: a line a method, with a band of one standard deviation to each side.
    """
    figure, axes = _figure(height=3.6)
    shares = sorted({share for values in curves.values() for share in values.index})
    for (method, values), (colour, marker) in zip(curves.items(), _styles(curves), strict=True):
        mean, sd = values["mean"], values["sd"]
        axes.fill_between(values.index, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        style = _points(marker, colour, size=6) | {"linestyle": "-", "markeredgewidth": 0.6}
        axes.plot(values.index, mean, **style, linewidth=1.8, label=method)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{100 * share:g}%" for share in shares])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.set(title=title, xlabel="labels used", ylabel="UAR")
    return _svg(figure, legend=3, handlelength=1.6)


@_styled
def differences(title: str, rows: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """Draws differences in UAR with their intervals.

    Args:
        title: Title of the figure.
        rows: For each row, from the top, and each of three references at most the difference and
            the ends of its interval, in [-1, 1]; None or NaN for unknown ends. A row may lack a
            reference.

    Returns:
        SVG: a point and a line for each, in points of UAR, beside a line at zero.
    """
    references = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, axes = _figure(height=1.1 + (0.14 + 0.09 * len(references)) * len(rows))
    places = np.arange(len(rows))
    for place, (reference, colour, marker) in enumerate(
        zip(references, COLOURS, ("o", "s", "D"), strict=False)
    ):
        shown = {y: row[reference] for y, row in enumerate(rows.values()) if reference in row}
        y = np.array([*shown]) + 0.24 * (place - (len(references) - 1) / 2)
        mean, low, high = 100 * np.array([*shown.values()], dtype=float).T
        axes.hlines(y, low, high, color=colour, linewidth=2)
        style = _points(marker, colour, size=5.5) | {"markeredgewidth": 0.6}
        axes.plot(mean, y, **style, label=reference)
    axes.axvline(0, color=_INK, linewidth=1.2)
    axes.set_yticks(places, list(rows))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.grid(axis="x")
    # Over the whole figure: beside long names of rows the axes are narrow.
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("difference in UAR, points")
    return _svg(figure, legend=3)


@_styled
def gain_by_purity(title: str, gains: pd.DataFrame) -> str:
    """Draws what graphs gain against how many of their edges are right.

    Args:
        title: Title of the figure.
        gains: By name of the method: `purity` in [0, 1], NaN where unknown, and the difference in
            UAR from training without a graph with the ends of its interval, `mean`, `low` and
            `high`, in [-1, 1], NaN where unknown.

    Returns:
        SVG: a point and a line for each; a level line for a graph of unknown purity. A curve joins
        the graphs that are made to a purity.
    """
    figure, axes = _figure(height=3.3)
    points = 100 * gains
    made = points[points.index.str.startswith("purity_") | (points.index == "oracle")]
    made = made.sort_values("purity")
    axes.axhline(0, color=_INK, linewidth=1.2)
    axes.plot(made["purity"], made["mean"], color=_INK, linewidth=1.2)
    axes.vlines(made["purity"], made["low"], made["high"], color=_INK, linewidth=1)
    axes.plot(made["purity"], made["mean"], "o", color=_INK, markersize=5, label="made to a purity")
    others = points.drop(made.index)
    styles = _styles(others.index)
    for (method, values), (colour, marker) in zip(others.iterrows(), styles, strict=True):
        if np.isnan(values["purity"]):
            level = {"linestyle": "--", "linewidth": 1.6, "color": colour, "label": method}
            axes.axhline(values["mean"], **level)
        else:
            axes.vlines(values["purity"], values["low"], values["high"], color=colour, linewidth=1)
            style = _points(marker, colour, size=7)
            axes.plot(values["purity"], values["mean"], **style, label=method)
    axes.set_xlim(0, 103)
    axes.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    axes.set(
        title=title, xlabel="edges that join one emotion", ylabel="gain in UAR over base, points"
    )
    return _svg(figure, legend=3)


@_styled
def setting_map(title: str, scores: pd.DataFrame, *, low: float, high: float) -> str:
    """Draws scores over two settings.

    Args:
        title: Title of the figure.
        scores: In [0, 1] or NaN; a row for each value of one setting, a column for each of the
            other, whose names are those of the index and the columns.
        low: Score of the palest colour, the same for all maps that are compared.
        high: Score of the darkest.

    Returns:
        SVG: in each cell the score in percent.
    """
    figure, axes = _figure(height=0.9 + 0.42 * len(scores))
    shade = Normalize(low, high if high > low else low + 0.01)
    axes.pcolormesh(scores.to_numpy(), cmap="Blues", norm=shade, edgecolors="white", linewidth=1)
    for place, score in np.ndenumerate(scores.to_numpy()):
        text = "–" if np.isnan(score) else f"{100 * score:.1f}"
        dark = not np.isnan(score) and shade(score) > 0.62
        _write_cell(axes, place, text, dark=dark, fontsize=9)
    axes.set_xticks(np.arange(scores.shape[1]) + 0.5, [f"{value:g}" for value in scores.columns])
    axes.set_yticks(np.arange(scores.shape[0]) + 0.5, [f"{value:g}" for value in scores.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=title, xlabel=scores.columns.name, ylabel=scores.index.name)
    return _svg(figure)


def _styles(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Colour and marker of each label: that of the arm it names, or one that no other has."""
    labels = list(labels)
    known = [_ARMS.get(label) for label in labels]
    colours = {each[0] for each in known if each}
    free = [each for each in itertools.product(COLOURS, MARKERS) if each not in known]
    free.sort(key=lambda style: style[0] in colours)  # colours that no arm has come first
    spare = itertools.cycle(free[:: len(MARKERS) + 1] + free)  # colour and marker change at once
    return [each or next(spare) for each in known]


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _points(marker: str, colour: str, *, size: float) -> dict[str, Any]:
    """Style of markers with a white edge and no line."""
    style = {"marker": marker, "color": colour, "markersize": size, "markeredgecolor": "white"}
    return style | {"linestyle": "none"}


def _write_cell(
    axes: Axes,
    place: tuple[int, ...],
    text: str,
    below: str = "",
    *,
    dark: bool,
    fontsize: float = 8,
) -> None:
    """Writes a text into a cell of a matrix, and a smaller one below it."""
    row, column = place
    style: dict[str, Any] = {"ha": "center", "color": "white" if dark else _INK}
    if below:
        axes.text(column + 0.5, row + 0.48, text, va="bottom", fontsize=fontsize, **style)
        axes.text(column + 0.5, row + 0.58, below, va="top", fontsize=6.5, **style)
    else:
        axes.text(column + 0.5, row + 0.5, text, va="center", fontsize=fontsize, **style)


def _label_cells(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names the columns and rows of a square matrix, and puts its first row on top."""
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, **slanted)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    axes.set_aspect("equal")


def _svg(figure: Figure, *, legend: int = 0, **spacing: float) -> str:
    """The figure as text, with a legend of so many columns below it."""
    if legend:
        spacing = {"handlelength": 1.4, "columnspacing": 1.4} | spacing
        figure.legend(loc="outside lower center", ncols=legend, **spacing)
    text = io.StringIO()
    figure.savefig(text, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    return text.getvalue()
