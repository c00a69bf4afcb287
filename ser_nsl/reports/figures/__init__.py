"""The figures of the pages: SVG text, the same bytes for the same numbers.

Each is drawn about as wide as a phone's screen, so that its letters are legible there without
zooming.
"""

from ser_nsl.reports.figures.drawing import COLOURS, MARKERS, STYLE
from ser_nsl.reports.figures.graph import (
    degree_histogram,
    edge_shares,
    labelled_map,
    shares_and_chance,
    weight_histogram,
)
from ser_nsl.reports.figures.sweep import differences, gain_by_purity, setting_map, share_curves
from ser_nsl.reports.figures.training import confusion_matrix, learning_curve, update_curves

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
