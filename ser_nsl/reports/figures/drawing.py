"""What all figures have in common: width, colours, markers, labelled cells, and SVG as output."""

import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
INK = "#222222"
WIDTH = 4.1  # inches, 394 px

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
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
"""What all figures have in common, for `matplotlib.rc_context` or `rcParams`."""

styled = matplotlib.rc_context(STYLE)


def arm_styles(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Returns colour and marker of each label: those of the arm it names, or some of its own."""
    labels = list(labels)
    known = [_ARMS.get(label) for label in labels]
    colours = {each[0] for each in known if each}
    free = [each for each in itertools.product(COLOURS, MARKERS) if each not in known]
    free.sort(key=lambda style: style[0] in colours)  # colours that no arm has come first
    spare = itertools.cycle(free[:: len(MARKERS) + 1] + free)  # colour and marker change at once
    return [each or next(spare) for each in known]


def new_figure(*, height: float) -> tuple[Figure, Axes]:
    """Returns a figure as wide as all, of a height in inches, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def points(marker: str, colour: str, *, size: float) -> dict[str, Any]:
    """Returns the style of markers with a white edge and no line."""
    style = {"marker": marker, "color": colour, "markersize": size, "markeredgecolor": "white"}
    return style | {"linestyle": "none"}


def write_cell(
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
    style: dict[str, Any] = {"ha": "center", "color": "white" if dark else INK}
    if below:
        axes.text(column + 0.5, row + 0.48, text, va="bottom", fontsize=fontsize, **style)
        axes.text(column + 0.5, row + 0.58, below, va="top", fontsize=6.5, **style)
    else:
        axes.text(column + 0.5, row + 0.5, text, va="center", fontsize=fontsize, **style)


def label_cells(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names the columns and rows of a square matrix, and puts its first row on top."""
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, **slanted)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    axes.set_aspect("equal")


def to_svg(figure: Figure, *, legend: int = 0, **spacing: float) -> str:
    """Returns the figure as text, with a legend below it: so many columns, or as many as fit."""
    spacing = {"handlelength": 1.4, "columnspacing": 1.4} | spacing
    for columns in range(legend, 0, -1):
        made = figure.legend(loc="outside lower center", ncols=columns, **spacing)
        if columns == 1 or made.get_window_extent().width <= figure.bbox.width:
            break
        made.remove()
    text = io.StringIO()
    figure.savefig(text, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    return text.getvalue()
