"""Figures of trainings: curves and confusion matrices."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_nsl.reports.figures import drawing


@drawing.styled
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
    figure, axes = drawing.new_figure(height=2.9)
    for (method, values), (colour, marker) in zip(
        curves.items(), drawing.arm_styles(curves), strict=True
    ):
        if values.shape[1] > 1:
            axes.plot(values.index, values, color=colour, linewidth=0.8, alpha=0.5)
        axes.plot(values.index, values.mean(axis=1), color=colour, linewidth=2, label=method)
        epochs = [kept[method][seed] for seed in values]
        at_kept = [values.at[epoch, seed] for epoch, seed in zip(epochs, values, strict=True)]
        axes.plot(epochs, at_kept, **drawing.points(marker, colour, size=6))
    if chance is not None:
        axes.axhline(chance, color=drawing.INK, linewidth=1.2, linestyle=":", label="chance")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.set(title=title, xlabel="epoch")
    return drawing.to_svg(figure, legend=4)


@drawing.styled
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
    figure, axes = drawing.new_figure(height=3.4 + 0.09 * len(curves))
    for label, style in zip(curves, drawing.arm_styles(curves), strict=True):
        colour, marker = style
        curve, epoch = curves[label], chosen[label]
        axes.plot(curve.index, curve, color=colour, linewidth=1.6)
        at_chosen = drawing.points(marker, colour, size=8) | {"label": label}
        axes.plot(curve.index[epoch - 1], curve.iloc[epoch - 1], **at_chosen)
    if chance is not None:
        axes.axhline(chance, color=drawing.INK, linewidth=1.2, linestyle=":", label="chance")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set(title=title, xlabel="updates", ylabel="UAR of validation speakers")
    return drawing.to_svg(figure, legend=3)


@drawing.styled
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
    figure, axes = drawing.new_figure(height=3.9)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for place, share in np.ndenumerate(shares):
        text, below = (f"{share:.0%}", str(counts[place])) if counts[place] else ("·", "")
        drawing.write_cell(axes, place, text, below, dark=share > 0.62)
    drawing.label_cells(axes, classes, classes)
    axes.set(title=title, xlabel="recognised", ylabel="true")
    return drawing.to_svg(figure)
