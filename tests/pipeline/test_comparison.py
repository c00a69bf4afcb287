"""Runs made by hand, few enough to compare them on paper."""

from dataclasses import replace

import numpy as np
import pytest

from ser_nsl.pipeline.comparison import (
    compare,
    compare_baselines,
    tabulate_runs,
)
from ser_nsl.pipeline.differences import pair
from ser_nsl.pipeline.sweep_run import Run

BASE = Run("emodb", 0, "cnn6", "base", 0, 0.0, "", "", "", 1.0, 0, "")
NSL = replace(BASE, method="nsl", n=3, alpha=0.1, layer="fc2", neighbors="batch")
RANDOM = replace(NSL, method="random")


def scored(**hits: tuple[int, int]) -> dict:
    """Scores of speakers who said ten clips of either class, from how many were recognised."""
    right = np.sum([*hits.values()], axis=0)
    confusion = [[right[0], 10 * len(hits) - right[0]], [10 * len(hits) - right[1], right[1]]]
    uar = float(right.sum()) / 20 / len(hits)
    return {
        "val_uar": 0.5,
        "seconds": 10.0,
        "uar": uar,
        "accuracy": uar,
        "clips": 20 * len(hits),
        "confusion_matrix": np.array(confusion).tolist(),
        "speakers": {name: {"uar": sum(own) / 20, "clips": 20} for name, own in hits.items()},
    }


def predicted(right: str) -> dict:
    """Scores of which the predictions alone matter: each clip right or wrong."""
    test = {f"clip{i}": [0, 0 if each == "1" else 1] for i, each in enumerate(right)}
    return scored(a=(5, 5)) | {"predictions": {"test": test}}


def at(run: Run, fold: int, seed: int) -> Run:
    return replace(run, fold=fold, seed=seed)


def many(run: Run, hits: list[int]) -> dict[Run, dict]:
    """One run, in which each speaker has so many clips of the first class right."""
    return {run: scored(**{f"s{number}": (own, 10) for number, own in enumerate(hits)})}


def test_differences_are_means_over_seeds_then_speakers():
    results = {
        at(BASE, 0, 0): scored(a=(5, 5), b=(5, 5)),
        at(BASE, 0, 1): scored(a=(5, 5), b=(5, 5)),
        at(BASE, 1, 0): scored(c=(5, 5)),
        at(NSL, 0, 0): scored(a=(6, 6), b=(5, 5)),
        at(NSL, 0, 1): scored(a=(8, 8), b=(4, 5)),
        at(NSL, 1, 0): scored(c=(10, 10)),
    }
    base, nsl = compare(results, [])

    difference = nsl.against_base
    assert difference.by_speaker == pytest.approx({"a": 0.2, "b": -0.025, "c": 0.5})
    assert difference.mean == pytest.approx(0.225)
    assert (difference.pairs, difference.low, difference.high) == (3, None, None)
    assert (base.against_base, base.against_random, nsl.against_random) == (None, None, None)
    assert (nsl.runs, nsl.folds, nsl.seeds) == (3, [0, 1], [0, 1])


def test_only_pairs_count():
    results = {
        at(BASE, 0, 0): scored(a=(5, 5)),
        at(BASE, 0, 1): scored(a=(0, 0)),
        at(NSL, 0, 0): scored(a=(6, 6)),
        at(NSL, 1, 0): scored(b=(10, 10)),
    }
    difference = compare(results, [])[1].against_base

    assert (difference.pairs, difference.by_speaker) == (1, pytest.approx({"a": 0.1}))


def test_the_random_graph_is_one_used_in_the_same_way():
    results = {
        BASE: scored(a=(5, 5)),
        NSL: scored(a=(8, 8)),
        replace(NSL, n=6): scored(a=(9, 9)),
        replace(NSL, label_share=0.5): scored(a=(9, 9)),
        RANDOM: scored(a=(7, 7)),
    }
    half, base, three, six, random = compare(results, [])

    assert (half.setting.label_share, base.setting.method, six.setting.n) == (0.5, "base", 6)
    assert three.against_random.mean == pytest.approx(0.1)
    assert six.against_random is None
    assert (half.against_base, half.against_random, random.against_random) == (None, None, None)
    assert random.against_base.mean == pytest.approx(0.2)


def test_random_twins_are_chosen_among_in_the_same_way():
    """A filter by labels makes any graph purer, so that of `probe` is of both."""
    methods = ("probe", "agreeing", "nsl", "random", "random_agreeing", "pseudo_labels_probe")
    hits = {"probe": 8, "agreeing": 7, "nsl": 6, "random": 5, "random_agreeing": 4}
    results = {
        replace(NSL, method=name): scored(a=(hits.get(name, 9), hits.get(name, 9)))
        for name in methods
    }
    found = {each.setting.method: each.against_random for each in compare(results, [])}

    gains = {name: each and round(each.mean, 3) for name, each in found.items()}
    assert gains == {
        "nsl": 0.1,
        "agreeing": 0.3,
        "probe": 0.4,
        "pseudo_labels_probe": None,
        "random": None,
        "random_agreeing": None,
    }


def test_arms_that_use_the_probe_are_compared_with_its_pseudo_labels():
    hits = {"base": 3, "pseudo_labels": 4, "probabilities": 6, "random_propagated": 7}
    hits |= {"propagated": 9, "start_pseudo_labels": 5, "start_probabilities": 8}
    results = {replace(BASE, method=name): scored(a=(right, right)) for name, right in hits.items()}
    found = {each.setting.method: each for each in compare(results, [])}

    gains = {
        name: [
            each and round(each.mean, 3) for each in (one.against_random, one.against_pseudo_labels)
        ]
        for name, one in found.items()
    }
    assert gains.pop("probabilities") == [None, 0.2]
    assert gains.pop("propagated") == [0.2, 0.5]
    assert gains.pop("start_probabilities") == [None, 0.3]
    assert {*map(tuple, gains.values())} == {(None, None)}
    assert [*found][-2:] == ["start_pseudo_labels", "start_probabilities"]


def test_a_direction_needs_both_interval_and_flips():
    base = many(BASE, [1] * 6)
    # Of the signs of 4, 4, 4, 4, 4 and -1, two of 64 give a sum of 19 or more, two -19 or less.
    unsure, up, down = (
        compare(base | many(NSL, hits), [])[1].against_base
        for hits in ([5] * 5 + [0], [5] * 6, [0] * 6)
    )

    assert unsure.low > 0
    assert unsure.p_speakers == pytest.approx(4 / 64)
    assert [each.direction for each in (unsure, up, down)] == [0, 1, -1]
    assert up.p_folds is None  # there is one


def test_probabilities_are_corrected_for_the_number_of_differences():
    base, nsl = many(BASE, [1] * 6), many(NSL, [5] * 6)
    alone = compare(base | nsl, [])[1].against_base
    among = compare(base | nsl | many(RANDOM, [1] * 6), [])[1]

    assert alone.p_speakers == pytest.approx(2 / 64) and alone.direction == 1
    # Against base, against random, and that of random, which is zero throughout.
    assert among.against_base.p_speakers == pytest.approx(3 * 2 / 64)
    assert among.against_base.direction == 0


def test_folds_are_the_unit_that_shares_no_network():
    """Two speakers a fold: ten of them, but five folds."""
    results = {}
    for fold in range(5):
        hits = {f"s{fold}{i}": (5, 5) for i in range(2)}
        results[at(BASE, fold, 0)] = scored(**hits)
        results[at(NSL, fold, 0)] = scored(**dict.fromkeys(hits, (6, 6)))
    difference = compare(results, [])[1].against_base

    assert (difference.folds, difference.clips) == (5, 200)
    assert difference.p_folds == pytest.approx(2 / 2**5)
    assert difference.p_speakers == pytest.approx(2 / 2**10)


def test_clips_are_tested_over_all_folds_seed_by_seed():
    results = {
        at(BASE, 0, 0): predicted("000"),
        at(NSL, 0, 0): predicted("111"),
        at(BASE, 0, 1): predicted("000"),
        at(NSL, 0, 1): predicted("110"),
        at(BASE, 1, 1): scored(b=(5, 5)) | {"predictions": {"test": {"other": [0, 1]}}},
        at(NSL, 1, 1): scored(b=(5, 5)) | {"predictions": {"test": {"other": [1, 1]}}},
    }
    difference = compare(results, [])[1].against_base

    assert difference.p_clips == pytest.approx([2 * 2 / 8, 2 * 2 / 8])  # of 3 clips either way
    assert not difference.differs_on_clips
    del results[at(NSL, 0, 0)]["predictions"]
    assert compare(results, [])[1].against_base.p_clips == []


def test_share_of_the_distance_to_the_upstream():
    linear = replace(BASE, network="linear", method="upstream")
    names = [f"s{i}" for i in range(6)]

    def shares(base: int, nsl: int, upstream: int):
        every = {BASE: base, NSL: nsl, linear: upstream}
        scores = {run: scored(**dict.fromkeys(names, (hits, 5))) for run, hits in every.items()}
        assert [each.kind for each in compare_baselines(scores)] == ["upstream"]
        own, ours = compare(scores, [])
        assert own.closed is None
        return ours.closed

    closed = shares(2, 3, 6)
    assert closed.distance == pytest.approx(0.2)
    assert (closed.share, closed.low, closed.high) == pytest.approx((0.25, 0.25, 0.25))
    assert shares(2, 1, 6).share == pytest.approx(-0.25)
    nothing = shares(5, 6, 5)
    assert (nothing.distance, nothing.share, nothing.low) == (0, None, None)


def test_gains_that_cancel_out_are_zero():
    """In floats the mean of -0.2, 0.1 and 0.1, as differences from 0.25, is not."""
    results = {}
    for seed, hits in enumerate((1, 7, 7)):
        results |= {at(BASE, 0, seed): scored(**{f"s{number}": (5, 0) for number in range(6)})}
        results |= {at(NSL, 0, seed): scored(**{f"s{number}": (hits, 0) for number in range(6)})}
    difference = compare(results, [])[1].against_base

    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


def test_spread_over_folds_and_seeds():
    uars = {(0, 0): 0.4, (1, 0): 0.6, (0, 1): 0.6, (1, 1): 0.8, (0, 2): 1.0}
    results = {
        at(BASE, fold, seed): scored(a=(5, 5)) | {"uar": uar} for (fold, seed), uar in uars.items()
    }
    (base,) = compare(results, [])

    assert base.uar == pytest.approx(0.68)
    assert base.uar_sd == pytest.approx(np.std([*uars.values()], ddof=1))
    assert base.uar_sd_of_seeds == pytest.approx(0.2 / 2**0.5)  # of 0.5 and 0.7; seed 2 lacks one


def test_missing_runs_are_told():
    planned = [at(arm, fold, 0) for arm in (BASE, NSL, RANDOM) for fold in (0, 1)]
    planned += [replace(run, trial="shifts", n=9) for run in planned]
    results = {BASE: scored(a=(5, 5)), at(BASE, 1, 0): scored(b=(5, 5)), NSL: scored(a=(5, 5))}
    comparisons = compare(results, planned)

    assert [(each.setting.method, each.runs, each.missing) for each in comparisons] == [
        ("base", 2, 0),
        ("nsl", 1, 1),
        ("random", 0, 2),
    ]
    assert (comparisons[2].uar, comparisons[2].against_base) == (None, None)
    assert (comparisons[1].uar_sd, comparisons[1].uar_sd_of_seeds) == (None, None)


def test_arms_stand_in_their_order():
    names = ["avg", "purity_40", "oracle", "random", "purity_20", "nsl", "base"]
    runs = [replace(BASE if name in ("avg", "base") else NSL, method=name) for name in names]

    assert [each.setting.method for each in compare({}, runs)] == [
        *("base", "nsl", "random", "oracle", "purity_20", "purity_40", "avg")
    ]


def test_purity_is_measured_or_nominal():
    results = {
        NSL: scored(a=(5, 5)) | {"purity": 0.61},
        RANDOM: scored(a=(5, 5)),
        replace(NSL, method="oracle"): scored(a=(5, 5)),
        replace(NSL, method="purity_40"): scored(a=(5, 5)),
    }

    assert [each.purity for each in compare(results, [])] == [0.61, None, 1.0, 0.4]


def test_pairs_stand_in_the_same_order():
    results = {at(arm, 0, seed): scored(a=(5, 5)) for arm in (BASE, NSL) for seed in (0, 2, 1)}
    del results[at(BASE, 0, 1)]
    runs = tabulate_runs(dict(reversed(results.items())))
    ours, theirs = pair(runs[runs["method"] == "nsl"], runs[runs["method"] == "base"])

    assert [*ours["seed"]] == [*theirs["seed"]] == [0, 2]
    assert set(ours["method"]) == {"nsl"} and set(theirs["method"]) == {"base"}
