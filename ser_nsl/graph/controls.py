"""The stage that makes graphs to compare with: one that knows nothing, one that knows the labels.

Where a graph trains no better than its random control, similarity played no part in the gain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.graph.statistics import ClipGraph, read_clip_graph
from ser_nsl.graph.table import Edges, write_graph
from ser_nsl.pipeline.stage import stage

_TRIES = 20  # swaps tried with each edge; then no more of the start is left than by chance
_ROUNDS = 500  # in which edges are made wrong; more only where few clips fit


@stage(inputs=("graph", "manifest"), makes="file")
def control_graph(
    *,
    graph: Path,
    manifest: Path,
    out: Path,
    kind: Literal["random", "oracle"],
    purity: float | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Makes a random or an all-knowing twin of a graph.

    `random` joins other clips, but each with as many as before, and shuffles the weights among the
    edges. `oracle` keeps the edges inside an emotion only. It is an upper bound and no fair
    method: it knows every label of the manifest, of whatever split, and what it gains cannot be
    had in practice. With `purity` a share of its edges, drawn at random, is made wrong by swapping
    ends among them, so that clips keep their degrees; where one emotion has most of these edges,
    the rest keep one end and get a clip of another emotion for the other, drawn in proportion to
    its edges in the given graph. Weights stay.

    A clip without an emotion is of none: `oracle` never joins it. Where all edges of the given
    graph are between speakers, so are all of the control.

    Args:
        graph: What tools/build_graph.py, tools/select_edges.py or `nsl.tools.build_graph` has
            made; an edge counts in both directions, with the larger weight where they differ.
        manifest: The clips' emotions and speakers.
        out: The control, a TSV file: source, target, weight, both directions, in order.
        kind: Which control.
        purity: For `oracle`: share of the edges that stay inside an emotion, 0 to 1; all by
            default.
        seed: Of all draws.

    Returns:
        Numbers of undirected edges before and after, how many of them are as before (of a dense
        graph many, by chance), the share inside an emotion, and how many of the graph's clips are
        left without an edge.

    Raises:
        InputError: If `purity` is out of range or given for `random`, the graph is malformed, has
            no edge, joins a clip with itself or names clips that are not in the manifest, no edge
            can be swapped or is inside an emotion, or a clip lacks wrong partners.
    """
    if purity is not None and (kind != "oracle" or not 0 <= purity <= 1):
        raise InputError(
            f"purity: belongs to kind oracle and must be 0 to 1; received {purity} for {kind}."
        )
    given = read_clip_graph(graph, read_manifest(manifest), where=str(manifest))
    if not len(given):
        raise InputError(
            f"{graph}: has no edge; build it again with a lower --similarity-threshold."
        )
    random = np.random.default_rng(seed)
    if kind == "random":
        ends = given.ends.copy()
        for _ in range(_TRIES):
            _swap_ends(given, ends, [_groups(given)], random)
        weights = random.permutation(given.weights)
    else:
        right = np.flatnonzero(_within_class(given, given.ends))
        if not len(right):
            raise InputError(
                f"{graph}: no edge joins two clips of one emotion of {manifest}; give a graph of "
                "labelled clips."
            )
        wrong = 0 if purity is None else round((1 - purity) * len(right))
        ends, weights = (
            _make_wrong(given, given.ends[:, right], wrong, random),
            given.weights[right],
        )
    as_before = int(np.isin(_number(given, ends), _number(given, given.ends)).sum())
    if kind == "random" and as_before == len(given):
        raise InputError(
            f"{graph}: its {as_before} edges could not be swapped so that every clip keeps its "
            "degree; give a graph of more clips or fewer edges."
        )
    sources, targets = ends.astype(np.int32)
    edges = Edges(sources, targets, weights)
    write_graph(out, given.clips["utterance_id"].tolist(), edges.both_ways().in_order())
    return {
        "edges_before": len(given),
        "edges": len(edges),
        "edges_as_before": as_before,
        "within_class": round(float(_within_class(given, ends).mean()), 4),
        "clips_without_edge": len(np.unique(given.ends)) - len(np.unique(ends)),
    }


def _swap_ends(
    graph: ClipGraph, ends: np.ndarray, labels: Sequence[np.ndarray], random: np.random.Generator
) -> None:
    """Pairs edges at random and swaps ends within pairs, so that every clip keeps its degree.

    Of a-b and c-d, turned at random, become a-d and c-b, if both are new and allowed.

    Args:
        graph: Over whose clips.
        ends: Of the edges, shape `(2, edges)`; changed in place.
        labels: Of the clips, in each of which the two clips of a new edge differ.
        random: The draws.
    """
    half = ends.shape[1] // 2
    one, other = random.permutation(ends.shape[1])[: 2 * half].reshape(2, half)
    turn = random.integers(2, size=half)
    tails = np.stack([ends[0, one], ends[turn, other]])
    heads = np.stack([ends[1 - turn, other], ends[1, one]])
    numbers = _number(graph, np.stack([tails, heads]))
    fits = _differ(labels, tails, heads) & ~np.isin(numbers, _number(graph, ends))
    chosen = np.flatnonzero(fits.all(axis=0))
    # Two swaps that would make the same edge are both left out.
    _, place, times = np.unique(numbers[:, chosen], return_inverse=True, return_counts=True)
    chosen = chosen[(times[place.reshape(2, -1)] == 1).all(axis=0)]
    for edges, tail, head in zip((one, other), tails, heads, strict=True):
        ends[:, edges[chosen]] = tail[chosen], head[chosen]


def _make_wrong(
    graph: ClipGraph, right: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Makes some edges wrong: by swaps, and where these find none, with partners drawn.

    Args:
        graph: Whose clips are the partners.
        right: Ends of edges inside an emotion, shape `(2, edges)`.
        count: How many to make wrong.
        random: The draws.

    Returns:
        Same shape.
    """
    labels = [_groups(graph), graph.emotions]
    ends = right.copy()
    chosen = random.choice(ends.shape[1], count, replace=False)
    swapped = ends[:, chosen]
    for _ in range(_ROUNDS):
        if not _within_class(graph, swapped).any():
            break
        _swap_ends(graph, swapped, labels, random)
    ends[:, chosen] = swapped
    waiting = chosen[_within_class(graph, swapped)]
    partners = graph.ends[graph.emotions[graph.ends] >= 0]  # a clip as often as it has edges
    for _ in range(_ROUNDS):
        if not len(waiting):
            return ends
        kept = ends[random.integers(2, size=len(waiting)), waiting]
        drawn = random.choice(partners, len(waiting))
        numbers = _number(graph, np.stack([kept, drawn]))
        first = np.zeros(len(waiting), bool)
        first[np.unique(numbers, return_index=True)[1]] = True
        fits = first & _differ(labels, kept, drawn) & ~np.isin(numbers, _number(graph, ends))
        ends[:, waiting[fits]] = kept[fits], drawn[fits]
        waiting = waiting[~fits]
    raise InputError(
        f"purity: of {count} edges to be made wrong, {len(waiting)} found no clip of another "
        "emotion; choose a larger purity, or give a graph of more clips or emotions."
    )


def _differ(labels: Sequence[np.ndarray], ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which clips differ from others in every label."""
    return np.logical_and.reduce([label[ones] != label[others] for label in labels])


def _groups(graph: ClipGraph) -> np.ndarray:
    """For each clip a group, within which there shall be no edge: a speaker, or the clip alone."""
    speakers = graph.speakers[graph.ends]
    across = (speakers[0] != speakers[1]).all()
    return graph.speakers if across else np.arange(len(graph.clips))


def _number(graph: ClipGraph, ends: np.ndarray) -> np.ndarray:
    """For each edge a number, the same in both directions; ends of shape `(2, ...)`."""
    return ends.min(axis=0) * len(graph.clips) + ends.max(axis=0)


def _within_class(graph: ClipGraph, ends: np.ndarray) -> np.ndarray:
    """Which edges join two clips of one emotion."""
    return graph.emotions[ends[0]] == graph.emotions[ends[1]]
