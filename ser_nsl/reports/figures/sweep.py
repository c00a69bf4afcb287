"""Figures of sweeps: scores by share of labels, differences, gains, and maps of settings."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_nsl.reports.figures import drawing


@drawing.styled
def share_curves(title: str, curves: Mapping[str, pd.DataFrame]) -> str:
    """Draws UAR against the share of labels.

    Args:
        title: Title of the figure.
        curves: For each method its `mean` and `sd` in [0, 1], NaN where unknown, by share, above 0
            and at most 1.

    Returns:
        SVG: a line a method, with a band of one standard deviation to each side.
    """
    figure, axes = drawing.new_figure(height=3.6)
    shares = sorted({share for values in curves.values() for share in values.index})
    for (method, values), (colour, marker) in zip(
        curves.items(), drawing.arm_styles(curves), strict=True
    ):
        mean, sd = values["mean"], values["sd"]
        axes.fill_between(values.index, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        style = drawing.points(marker, colour, size=6) | {"linestyle": "-", "markeredgewidth": 0.6}
        axes.plot(values.index, mean, **style, linewidth=1.8, label=method)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{100 * share:g}%" for share in shares])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.set(title=title, xlabel="labels used", ylabel="UAR")
    return drawing.to_svg(figure, legend=3, handlelength=1.6)


@drawing.styled
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
    height = 1.1 + (0.14 + 0.09 * len(references)) * len(rows) + 0.18 * (len(references) > 2)
    figure, axes = drawing.new_figure(height=height)
    places = np.arange(len(rows))
    for place, (reference, colour, marker) in enumerate(
        zip(references, drawing.COLOURS, ("o", "s", "D"), strict=False)
    ):
        shown = {y: row[reference] for y, row in enumerate(rows.values()) if reference in row}
        y = np.array([*shown]) + 0.24 * (place - (len(references) - 1) / 2)
        mean, low, high = 100 * np.array([*shown.values()], dtype=float).T
        axes.hlines(y, low, high, color=colour, linewidth=2)
        style = drawing.points(marker, colour, size=5.5) | {"markeredgewidth": 0.6}
        axes.plot(mean, y, **style, label=reference)
    axes.axvline(0, color=drawing.INK, linewidth=1.2)
    axes.set_yticks(places, list(rows))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.grid(axis="x")
    # Over the whole figure: beside long names of rows the axes are narrow.
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("difference in UAR, points")
    return drawing.to_svg(figure, legend=3)


@drawing.styled
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
    figure, axes = drawing.new_figure(height=3.3)
    points = 100 * gains
    made = points[points.index.str.startswith("purity_") | (points.index == "oracle")]
    made = made.sort_values("purity")
    axes.axhline(0, color=drawing.INK, linewidth=1.2)
    axes.plot(made["purity"], made["mean"], color=drawing.INK, linewidth=1.2)
    axes.vlines(made["purity"], made["low"], made["high"], color=drawing.INK, linewidth=1)
    axes.plot(
        made["purity"], made["mean"], "o", color=drawing.INK, markersize=5, label="made to a purity"
    )
    others = points.drop(made.index)
    styles = drawing.arm_styles(others.index)
    for (method, values), (colour, marker) in zip(others.iterrows(), styles, strict=True):
        if np.isnan(values["purity"]):
            level = {"linestyle": "--", "linewidth": 1.6, "color": colour, "label": method}
            axes.axhline(values["mean"], **level)
        else:
            axes.vlines(values["purity"], values["low"], values["high"], color=colour, linewidth=1)
            style = drawing.points(marker, colour, size=7)
            axes.plot(values["purity"], values["mean"], **style, label=method)
    axes.set_xlim(0, 103)
    axes.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    axes.set(
        title=title, xlabel="edges that join one emotion", ylabel="gain in UAR over base, points"
    )
    return drawing.to_svg(figure, legend=3)


@drawing.styled
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
    figure, axes = drawing.new_figure(height=0.9 + 0.42 * len(scores))
    shade = Normalize(low, high if high > low else low + 0.01)
    axes.pcolormesh(scores.to_numpy(), cmap="Blues", norm=shade, edgecolors="white", linewidth=1)
    for place, score in np.ndenumerate(scores.to_numpy()):
        text = "–" if np.isnan(score) else f"{100 * score:.1f}"
        dark = not np.isnan(score) and shade(score) > 0.62
        drawing.write_cell(axes, place, text, dark=dark, fontsize=9)
    axes.set_xticks(np.arange(scores.shape[1]) + 0.5, [f"{value:g}" for value in scores.columns])
    axes.set_yticks(np.arange(scores.shape[0]) + 0.5, [f"{value:g}" for value in scores.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=title, xlabel=scores.columns.name, ylabel=scores.index.name)
    return drawing.to_svg(figure)
