"""Figures of graphs: what edges join, how many there are, and maps of clips."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_nsl.reports.figures import drawing

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
_GREY = "#bbbbbb"


@drawing.styled
def edge_shares(title: str, shares: pd.DataFrame) -> str:
    """Draws what edges join, beside chance.

    Args:
        title: Title of the figure.
        shares: In [0, 1]; one row a kind of edge, its name or one of
            `ser_nsl.graph.statistics.SHARES`; columns two sets of edges, and last `chance`.

    Returns:
        SVG: a bar for each share, a line across the bars of a row for chance.
    """
    figure, axes = drawing.new_figure(height=3.2 + 0.8 * max(0, len(shares) - 3))
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
        "colors": drawing.INK,
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
    return drawing.to_svg(figure, legend=3)


@drawing.styled
def degree_histogram(title: str, degrees: Mapping[str, Sequence[int] | np.ndarray]) -> str:
    """Draws how many edges the clips have.

    Args:
        title: Title of the figure.
        degrees: Degree of every clip, for each of two sets of edges.

    Returns:
        SVG: one histogram a set, below each other.
    """
    figure = Figure(figsize=(drawing.WIDTH, 1.6 * len(degrees)), layout="constrained")
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
    return drawing.to_svg(figure)


@drawing.styled
def weight_histogram(title: str, weights: Mapping[str, np.ndarray]) -> str:
    """Draws how similar the ends of edges are.

    Args:
        title: Title of the figure.
        weights: Weights of two sets of edges; the second set is part of the first.

    Returns:
        SVG: the second histogram in front of the first.
    """
    figure, axes = drawing.new_figure(height=3.2)
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
    return drawing.to_svg(figure, legend=2)


@drawing.styled
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
    figure, axes = drawing.new_figure(height=4.1)
    # Paler below chance, where most cells are and least is to be seen.
    shade = TwoSlopeNorm(0, vmin=-5, vmax=2.2)
    axes.pcolormesh(doublings, cmap=_AROUND_CHANCE, norm=shade, edgecolors="white", linewidth=1)
    for place, share in np.ndenumerate(shares.to_numpy()):
        text = "–" if np.isnan(share) else f"{share:.0%}"
        drawing.write_cell(
            axes, place, text, f"{chance.iat[place]:.0%}", dark=doublings[place] > 1.3
        )
    drawing.label_cells(axes, shares.columns, shares.index)
    axes.set(title=title, xlabel="to clips of", ylabel="edges from clips of")
    return drawing.to_svg(figure)


@drawing.styled
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
    figure, axes = drawing.new_figure(
        height=0.5 + 0.18 * rows + drawing.WIDTH * np.clip(height / width, 0.5, 1)
    )
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
        turn, which = divmod(place, len(drawing.COLOURS))
        marker, colour = (
            drawing.MARKERS[(which + turn) % len(drawing.MARKERS)],
            drawing.COLOURS[which],
        )
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
    return drawing.to_svg(figure)
