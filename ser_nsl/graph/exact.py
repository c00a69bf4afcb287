"""Exact search for all pairs of clips with a high cosine similarity.

Blocks of clips are compared by a matrix product in float32, which rules out only pairs that are
certainly below the threshold; the cosines of the others are computed in float64, in the arithmetic
of `nsl.tools.build_graph`. So neither the edges nor their weights depend on the processor. The time
grows with the square of the number of clips.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.graph.store import EdgeStore
from ser_nsl.graph.table import NO_EDGES, Edges, write_graph
from ser_nsl.graph.vectors import Vectors, read_vectors
from ser_nsl.pipeline.bars import Bar

if TYPE_CHECKING:
    import neural_structured_learning as nsl

_BLOCK = 2_048  # clips in each of the two blocks that are compared at a time
_PENDING = 2**22  # least number of edges collected before the nearest are chosen
_ROWS = 256  # rows of a block whose pairs are listed at a time
_TIE = 2e-6  # cosines that differ by more also differ in the six decimals of the file

NEVER = -2.0
"""In place of the cosine of a pair that must not be joined; below any cosine."""


def build_graph_from_config(
    embedding_files: Sequence[str],
    output_graph_path: str,
    graph_builder_config: nsl.configs.GraphBuilderConfig,
) -> None:
    """Replaces `nsl.tools.build_graph_from_config`, without missing a pair.

    The edges and the printed weights are those of the official builder with `lsh_splits=0`; the
    lines are sorted.

    Args:
        embedding_files: TFRecord files.
        output_graph_path: The graph, a TSV file: source, target, weight, both directions.
        graph_builder_config: The official settings; `lsh_splits`, `lsh_rounds` and `random_seed`
            have no effect, since nothing is hashed.

    Raises:
        InputError: If the threshold is not in -1 to 1, the embeddings are invalid (see
            `read_vectors`), or the graph cannot be written.

    Example:
        >>> import neural_structured_learning as nsl
        >>> files = sorted(map(str, Path("embeddings").glob("train-*.tfrecord")))
        >>> config = nsl.configs.GraphBuilderConfig(similarity_threshold=0.5)
        >>> build_graph_from_config(files, "similar.tsv", config)
        >>> len(Path("similar.tsv").read_text().splitlines()) > 0
        True
    """
    config = graph_builder_config
    check_threshold(config.similarity_threshold)
    vectors = read_vectors(
        embedding_files,
        id_feature=config.id_feature_name,
        embedding_feature=config.embedding_feature_name,
        upstream_feature=None,
    )
    out = Path(output_graph_path)
    try:
        write_graph(
            out, vectors.ids, stream_edges(vectors, config.similarity_threshold, out.parent)
        )
    except OSError as error:
        raise InputError(
            f"{output_graph_path}: cannot be written ({error.strerror}); free some space or choose "
            "a folder you may write to, then run again."
        ) from error


def check_threshold(similarity_threshold: float) -> None:
    """Refuses a threshold that cannot be a cosine.

    Raises:
        InputError: If the threshold is not in -1 to 1.
    """
    if not -1 <= similarity_threshold <= 1:
        raise InputError(
            f"similarity_threshold: a cosine lies in -1 to 1; received {similarity_threshold}."
        )


def find_edges(
    vectors: Vectors, threshold: float, *, max_neighbors: int | None = None, quiet: bool = False
) -> Edges:
    """Finds all pairs whose cosine reaches a threshold.

    Args:
        vectors: Embeddings of the clips.
        threshold: Least cosine, -1 to 1.
        max_neighbors: Most edges from a clip, those that `nsl.tools.pack_nbrs` takes; None for
            all edges in both directions.
        quiet: Whether to hide the progress bar.

    Returns:
        Edges sorted by source and target.
    """
    return _search(vectors, _pairs_of_blocks(len(vectors), quiet=quiet), threshold, max_neighbors)


def stream_edges(vectors: Vectors, threshold: float, folder: Path) -> Iterator[Edges]:
    """Finds all pairs whose cosine reaches a threshold, be they more than memory holds.

    Args:
        vectors: Embeddings of the clips.
        threshold: Least cosine, -1 to 1.
        folder: Existing folder for what memory should not hold.

    Yields:
        Edges in both directions, sorted by source and target over all parts.
    """
    screen = _Screen(vectors, _Found(len(vectors), threshold, None))
    with TemporaryFile(dir=folder) as file:  # nameless: the system removes it with the process
        store = EdgeStore(len(vectors), file)
        for rows, columns in _pairs_of_blocks(len(vectors)):
            for sources, targets in screen.pairs(rows, columns):
                weights = vectors.cosines(sources, targets)
                store.add(_edges(sources, targets, weights)[weights >= threshold].both_ways())
        yield from store.parts()


def _pairs_of_blocks(clips: int, *, quiet: bool = False) -> Iterator[tuple[slice, slice]]:
    """Yields all pairs of blocks that are to be compared, and shows the progress."""
    total = clips * (clips - 1) // 2
    hidden = {"disable": True} if quiet else {}  # disable=False would overrule TQDM_DISABLE
    with Bar(desc="comparing", total=total, unit="pair", unit_scale=True, **hidden) as bar:
        for rows, columns in itertools.combinations_with_replacement(blocks(clips), 2):
            yield rows, columns
            height, width = rows.stop - rows.start, columns.stop - columns.start
            bar.update(height * (height - 1) // 2 if rows == columns else height * width)


def find_edges_between(
    vectors: Vectors, first: int, threshold: float, *, max_neighbors: int | None = None
) -> Edges:
    """Finds the edges between the first clips of a table and the rest.

    Args:
        vectors: Embeddings of the clips; the ids of the first clips are sorted, and so are those
            of the rest.
        first: Number of first clips.
        threshold: Least cosine, -1 to 1.
        max_neighbors: As for `find_edges`, counting only neighbours on the other side.

    Returns:
        Edges in both directions, sorted by source and target.
    """
    others = blocks(len(vectors), start=first)
    return _search(vectors, itertools.product(blocks(first), others), threshold, max_neighbors)


def _search(
    vectors: Vectors,
    pairs_of_blocks: Iterable[tuple[slice, slice]],
    threshold: float,
    max_neighbors: int | None,
) -> Edges:
    """Compares pairs of blocks, and returns all edges, sorted by source and target."""
    found = _Found(len(vectors), threshold, max_neighbors)
    screen = _Screen(vectors, found)
    for rows, columns in pairs_of_blocks:
        for sources, targets in screen.pairs(rows, columns):
            found.add(sources, targets, vectors.cosines(sources, targets))
    return found.edges()


def find_edges_from(
    vectors: Vectors, clips: np.ndarray, threshold: float, *, max_neighbors: int | None = None
) -> Edges:
    """Finds the edges from chosen clips to all clips.

    Args:
        vectors: Embeddings of all clips.
        clips: Indices of the chosen clips, int, shape `(chosen clips,)`.
        threshold: Least cosine, -1 to 1.
        max_neighbors: As for `find_edges`.

    Returns:
        Those edges of `find_edges` whose source is one of these clips, sorted by source and
            target.
    """
    edges = NO_EDGES
    least = np.full(len(vectors), threshold)
    for columns in blocks(len(vectors)):
        product = screened_cosines(vectors, clips, columns)
        near = true_entries(product >= least[clips, np.newaxis] - float32_slack(vectors))
        sources, targets = clips[near[0]], columns.start + near[1]
        weights = vectors.cosines(sources, targets)
        edges = Edges.join([edges, _edges(sources, targets, weights)[weights >= threshold]])
        if max_neighbors is not None:
            edges = edges.nearest(max_neighbors)
            _raise(least, *_last_weights(edges, max_neighbors))
    return edges.in_order()


def blocks(clips: int, *, start: int = 0) -> list[slice]:
    """Divides clips, from an index on, into the blocks that are compared at a time."""
    return [slice(i, min(i + _BLOCK, clips)) for i in range(start, clips, _BLOCK)]


def true_entries(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `np.nonzero` returns, ten times as fast where few entries are true."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def screened_cosines(vectors: Vectors, rows: slice | np.ndarray, columns: slice) -> np.ndarray:
    """Returns cosines in float32 of pairs that may be joined, and `NEVER` for the others.

    Args:
        vectors: Embeddings of the clips.
        rows: Clips, a slice or int, shape `(rows,)`.
        columns: Their partners; a clip is never joined with itself or with one that is barred.

    Returns:
        float32, shape `(rows, columns)`; the error is at most `float32_slack`.
    """
    product = cosines_in_float32(vectors.units(rows), vectors.units(columns))
    clips = np.arange(len(vectors))
    places = clips[rows]
    own = np.flatnonzero((columns.start <= places) & (places < columns.stop))
    product[own, places[own] - columns.start] = NEVER
    if not vectors.joins_any:
        product[vectors.barred(places[:, np.newaxis], clips[columns])] = NEVER
    return product


def cosines_in_float32(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns cosines of all pairs of unit vectors; the error is at most `float32_slack`."""
    return rows.astype(np.float32) @ columns.astype(np.float32).T


def float32_slack(vectors: Vectors) -> float:
    """Bounds the error of `cosines_in_float32`: sums of `width` products in any order.

    By Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, plus a margin for
    the rounding of the vectors and of the numbers that the product is compared with.
    """
    return (vectors.values.shape[1] + 8) * 2.0**-24


class _Found:
    """The edges so far, and the cosine that a further pair must reach.

    Attributes:
        least: float64, shape `(clips,)`: pairs with a smaller cosine are no edges from this clip.
        max_neighbors: Most edges from a clip, None for all.
    """

    def __init__(self, clips: int, threshold: float, max_neighbors: int | None) -> None:
        self.least = np.full(clips, threshold, np.float64)
        self.max_neighbors = max_neighbors
        self._threshold = threshold
        self._parts: list[Edges] = []
        self._kept = self._pending = 0

    def add(self, sources: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        """Adds pairs, none of which may have been added before."""
        edges = _edges(sources, targets, weights)[weights >= self._threshold].both_ways()
        self._parts.append(edges)
        self._pending += len(edges)
        if self.max_neighbors is not None and self._pending > max(_PENDING, self._kept):
            nearest = Edges.join(self._parts).nearest(self.max_neighbors)
            _raise(self.least, *_last_weights(nearest, self.max_neighbors))
            self._parts, self._kept, self._pending = [nearest], len(nearest), 0

    def edges(self) -> Edges:
        """Returns all edges, sorted by source and target."""
        edges = Edges.join(self._parts)
        if self.max_neighbors is not None:
            edges = edges.nearest(self.max_neighbors)
        return edges.in_order()


def _edges(sources: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Edges:
    return Edges(sources.astype(np.int32), targets.astype(np.int32), weights)


def _last_weights(nearest: Edges, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the clips that have `count` edges, and the least weight among the edges of each."""
    last = np.flatnonzero(np.diff(nearest.sources, append=-1))
    clips = nearest.sources[last]
    full = np.bincount(nearest.sources)[clips] == count
    return clips[full], nearest.weights[last][full]


def _raise(least: np.ndarray, clips: np.ndarray | slice, weights: np.ndarray) -> None:
    """Records that these clips have enough edges of at least these weights."""
    least[clips] = np.maximum(least[clips], weights - _TIE)


class _Screen:
    """Finds the pairs of two blocks that may become edges."""

    def __init__(self, vectors: Vectors, found: _Found) -> None:
        self._vectors, self._found = vectors, found
        self._slack = float32_slack(vectors)

    def pairs(self, rows: slice, columns: slice) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Finds pairs of clips, without repeats; the blocks are the same or in this order."""
        least = self._found.least
        product = screened_cosines(self._vectors, rows, columns)
        if product.max() < min(least[rows].min(), least[columns].min()) - self._slack:
            return
        near = self._reaches_least(product, rows, columns)
        count = self._found.max_neighbors
        if count is not None and np.count_nonzero(near) > count * sum(product.shape):
            if count <= product.shape[1]:
                enough = np.partition(product, -count, axis=1)[:, -count]
                _raise(least, rows, enough - self._slack)
            if count <= product.shape[0]:
                enough = np.partition(product, -count, axis=0)[-count]
                _raise(least, columns, enough - self._slack)
            near = self._reaches_least(product, rows, columns)
        for start in range(0, len(near), _ROWS):  # where many are near, lists of them are large
            row, column = true_entries(near[start : start + _ROWS])
            sources, targets = rows.start + start + row, columns.start + column
            unique = sources < targets
            yield sources[unique], targets[unique]

    def _reaches_least(self, product: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        least = (self._found.least - self._slack).astype(np.float32)
        return product >= np.minimum.outer(least[rows], least[columns])
