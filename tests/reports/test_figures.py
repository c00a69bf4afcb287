"""Figures: what is written in them."""

import re

import numpy as np
import pandas as pd
import pytest

from ser_nsl.pipeline.arms import ARMS
from ser_nsl.reports import figures
from ser_nsl.reports.figures import drawing


def texts(svg: str) -> list[str]:
    """Letters are drawn as outlines; matplotlib notes the text above each."""
    return re.findall(r"<!-- (.+) -->", svg)


def test_confusion_matrix_shows_shares_of_rows_and_counts():
    svg = figures.confusion_matrix("base", np.array([[1, 3], [0, 0]]), ("anger", "joy"))

    assert [text for text in texts(svg) if text in ("25%", "1", "75%", "3", "·")] == (
        ["25%", "1", "75%", "3", "·", "·"]
    )


def test_learning_curve_of_one_epoch():
    curve = pd.DataFrame({0: [0.5]}, index=[1])
    svg = figures.learning_curve("UAR", {"nsl": curve}, {"nsl": {0: 1}}, chance=0.2)

    assert {"UAR", "nsl", "chance", "epoch", "100%"} <= set(texts(svg))


def test_edge_shares_beside_chance():
    shares = pd.DataFrame({"all": [0.5], "used": [0.7], "chance": [0.1]}, index=["one emotion"])

    assert {"50%", "70%", "chance", "one emotion"} <= set(texts(figures.edge_shares("x", shares)))


def test_many_degrees_share_bars():
    svg = figures.degree_histogram("x", {"all": range(1000), "used": [0, 1]})

    assert svg.count('<g id="patch_') < 40


def test_every_arm_has_a_line():
    curve = pd.DataFrame({"mean": [0.4, 0.6], "sd": [0.1, np.nan]}, index=[0.125, 1.0])
    svg = figures.share_curves("UAR", dict.fromkeys(ARMS, curve))

    assert {*ARMS, "12.5%", "100%"} <= set(texts(svg))
    assert svg == figures.share_curves("UAR", dict.fromkeys(ARMS, curve))


def test_graph_of_known_purity_is_a_point():
    gains = pd.DataFrame(
        {"purity": [0.4, 1.0, 0.6, np.nan], "mean": [0.01, 0.1, 0.05, -0.01]},
        index=["purity_40", "oracle", "nsl", "random"],
    ).assign(low=np.nan, high=np.nan)
    svg = figures.gain_by_purity("Gain", gains)

    assert {"made to a purity", "nsl", "random", "100%"} <= set(texts(svg))


def test_arms_without_a_colour_of_their_own_differ():
    styles = drawing.arm_styles(["base", "taught", "nsl α 1", "probe"])

    assert len(set(styles)) == 4
    assert (styles[0], styles[3]) == (drawing._ARMS["base"], drawing._ARMS["probe"])


def test_curves_are_marked_where_they_were_stopped():
    curves = {name: pd.Series([0.3, 0.5], index=[17, 34]) for name in ("base", "taught")}
    svg = figures.update_curves("small", curves, {"base": 2, "taught": 1}, chance=0.2)

    assert {"small", "base", "taught", "chance", "updates", "50%"} <= set(texts(svg))


def test_arms_of_one_figure_have_colours_of_their_own():
    colours = [
        colour for colour, _ in drawing.arm_styles(["base", "start_base", "start_embedding"])
    ]

    assert len(set(colours)) == 3


LONG_NAMES = [f"start_random_propagated {name}" for name in ("base", "random", "pseudo-labels")]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.differences("Gains", {"row": dict.fromkeys(LONG_NAMES, (0.1, 0.0, 0.2))}),
        lambda: figures.update_curves(
            "small", dict.fromkeys(LONG_NAMES, pd.Series([0.3])), dict.fromkeys(LONG_NAMES, 1)
        ),
    ],
)
def test_long_names_fit_below_a_figure(draw):
    svg = draw()

    (width,) = re.findall(r'viewBox="0 0 ([\d.]+)', svg)
    starts = dict(re.findall(r"<!-- (start_.*?) -->\s*<g .*?translate\(([-\d.]+)", svg))
    assert [*starts] == LONG_NAMES
    for name, start in starts.items():  # letters are about 5 points wide
        assert 20 < float(start) < float(width) - 5 * len(name), name
