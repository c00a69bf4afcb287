"""The stage that makes control graphs: a random one, and one that knows the labels.

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

_TRIES = 20  # swaps tried per edge; after them only chance keeps edges of the given graph
_ROUNDS = 500  # most rounds of making edges wrong; few are needed unless few clips fit


@stage(inputs=("graph", "manifest"), makes="file", remote=("graph",))
def control_graph(
    *,
    graph: Path,
    manifest: Path,
    out: Path,
    kind: Literal["random", "oracle"],
    purity: float | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Makes a random or an oracle control of a graph.

    `random` swaps the ends of edges at random, so that every clip keeps its degree, and shuffles
    the weights among the edges. `oracle` keeps the edges inside an emotion only. It is an upper
    bound and no fair method: it knows every label of the manifest, of all splits, and its gain
    cannot be had in practice. With `purity`, edges drawn at random are made wrong by swapping ends
    among them, so that clips keep their degrees; edges for which no swap is found, as where one
    emotion has most of them, keep one end, and the other becomes a clip of another emotion, drawn
    in proportion to its degree in the given graph. Weights stay.

    `oracle` drops the edges of clips without an emotion. Where all edges of the given graph are
    between speakers, so are all edges of the control.

    Args:
        graph: The graph of `ser-nsl build-graph`, `ser-nsl select-edges` or
            `nsl.tools.build_graph`; an edge counts in both directions, with the larger weight
            where they differ.
        manifest: Manifest with the clips' emotions and speakers.
        out: The control, a TSV file: source, target, weight; both directions, sorted.
        kind: Kind of control.
        purity: For `oracle`: share of the edges that stay inside an emotion, 0 to 1; all by
            default.
        seed: Seed of all draws.

    Returns:
        Numbers of undirected edges before and after, of edges that both graphs have (by chance
        many where the graph is dense), the share of edges inside an emotion, and the number of
        the graph's clips left without an edge.

    Raises:
        InputError: If `purity` is out of range or given for `random`, the graph is malformed, has
            no edge, joins a clip with itself or names clips that are not in the manifest, no edge
            can be swapped or is inside an emotion, or too few clips of other emotions can be
            joined.

    Example:
        >>> graph, manifest = Path("graph.tsv"), Path("manifest.csv")
        >>> made = control_graph(
        ...     graph=graph, manifest=manifest, out=Path("oracle.tsv"), kind="oracle"
        ... )
        >>> made.counts["within_class"]
        1.0
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
            f"{graph}: its {as_before} edges cannot be swapped so that every clip keeps its "
            "degree; give a graph of more clips or fewer edges."
        )
    sources, targets = ends.astype(np.int32)
    edges = Edges(sources, targets, weights)
    write_graph(out, given.clips["utterance_id"].tolist(), [edges.both_ways().in_order()])
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

    Edges a-b and c-d, in random direction, become a-d and c-b if both are new and allowed.

    Args:
        graph: Graph whose clips are joined.
        ends: Ends of the edges, shape `(2, edges)`; changed in place.
        labels: Labels of the clips; the two clips of a new edge differ in every one.
        random: Random generator.
    """
    half = ends.shape[1] // 2
    one, other = random.permutation(ends.shape[1])[: 2 * half].reshape(2, half)
    side = random.integers(2, size=half)
    tails = np.stack([ends[0, one], ends[side, other]])
    heads = np.stack([ends[1 - side, other], ends[1, one]])
    numbers = _number(graph, np.stack([tails, heads]))
    fits = _differ(labels, tails, heads) & ~np.isin(numbers, _number(graph, ends))
    chosen = np.flatnonzero(fits.all(axis=0))
    # Swaps that would make the same edge twice are left out.
    _, number, times = np.unique(numbers[:, chosen], return_inverse=True, return_counts=True)
    chosen = chosen[(times[number.reshape(2, -1)] == 1).all(axis=0)]
    for edges, tail, head in zip((one, other), tails, heads, strict=True):
        ends[:, edges[chosen]] = tail[chosen], head[chosen]


def _make_wrong(
    graph: ClipGraph, right: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """Makes edges wrong by swaps, and where no swap is found, with partners drawn at random.

    Args:
        graph: Graph whose clips are the partners.
        right: Ends of edges inside an emotion, shape `(2, edges)`.
        count: Number of edges to make wrong.
        random: Random generator.

    Returns:
        Ends of all edges, shape `(2, edges)`.
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
    partners = graph.ends[graph.emotions[graph.ends] >= 0]  # repeated once per edge of the clip
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
    """Returns which clips differ from their partners in every label."""
    return np.logical_and.reduce([label[ones] != label[others] for label in labels])


def _groups(graph: ClipGraph) -> np.ndarray:
    """Returns the group of each clip, in which no edge may lie: its speaker, or itself alone."""
    speakers = graph.speakers[graph.ends]
    across = (speakers[0] != speakers[1]).all()
    return graph.speakers if across else np.arange(len(graph.clips))


def _number(graph: ClipGraph, ends: np.ndarray) -> np.ndarray:
    """Numbers edges, the same in both directions; ends have the shape `(2, ...)`."""
    return ends.min(axis=0) * len(graph.clips) + ends.max(axis=0)


def _within_class(graph: ClipGraph, ends: np.ndarray) -> np.ndarray:
    """Returns which edges join two clips of one emotion."""
    return graph.emotions[ends[0]] == graph.emotions[ends[1]]
