"""Settings of a graph."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ser_nsl.pipeline.settings import MOST, check

__all__ = ["Builder", "GraphConfig"]

Builder = Literal["auto", "official", "exact", "approximate"]
"""Names of the graph builders."""


@dataclass(frozen=True)
class GraphConfig:
    """How the graph is built and used.

    Attributes:
        similarity_threshold: Least cosine similarity of an edge, 0 to 1; `auto` chooses it so
            that a clip has `target_degree` neighbours on average.
        lsh_splits: Number of hyperplanes of a hashing, for the official builder; 0 compares all
            pairs.
        lsh_rounds: Number of hashings, for the official builder.
        seed: Seed of all draws.
        max_neighbors: Most neighbours of a clip in training.
        builder: `official`, `exact`, `approximate`, or `auto`, as in `build_graph`.
        target_degree: Mean number of neighbours, for the threshold `auto` only.
        edges: Edges that the file keeps: the `nearest`, only those that training uses, or `all`,
            whose number grows with the square of the clips where the threshold is low.
        packing: `official` or `indexed` training records, or `auto`: official up to 2,000 clips
            that all have labels, else indexed.
        embeddings: Embeddings from which the graph is built: `upstream`; `mfcc`; `fused`, both of
            them; or `probe`, a linear classifier on both, fitted to the training labels.
        across_speakers: Whether clips of one speaker are never joined.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> GraphConfig(similarity_threshold="auto", target_degree=6).building["target_degree"]
        6
    """

    similarity_threshold: float | int | str = 0.99  # the reader of YAML keeps 1 and 1.0 apart
    lsh_splits: int = 2
    lsh_rounds: int = 4
    seed: int = 12345
    max_neighbors: int = 3
    builder: str = "auto"
    target_degree: float | None = None
    edges: str = "all"
    packing: str = "auto"
    embeddings: str = "upstream"
    across_speakers: bool = False

    def __post_init__(self) -> None:
        kinds = ("upstream", "mfcc", "fused", "probe")
        check(self.embeddings in kinds, "embeddings", f"one of {kinds}", self.embeddings)
        threshold, degree = self.similarity_threshold, self.target_degree
        is_cosine = not isinstance(threshold, str) and 0 <= threshold <= 1
        check(
            is_cosine or threshold == "auto",
            "similarity_threshold",
            "a cosine, 0 to 1, or auto",
            threshold,
        )
        rule = "more than 0 where similarity_threshold is auto, else absent"
        check(degree is None if is_cosine else (degree or 0) > 0, "target_degree", rule, degree)
        builders = get_args(Builder)
        check(self.builder in builders, "builder", f"one of {builders}", self.builder)
        check(self.edges in ("all", "nearest"), "edges", "'all' or 'nearest'", self.edges)
        packings = ("auto", "official", "indexed")
        check(self.packing in packings, "packing", f"one of {packings}", self.packing)
        check(self.lsh_splits >= 0, "lsh_splits", "0 or more", self.lsh_splits)
        check(self.lsh_rounds > 0, "lsh_rounds", "at least 1", self.lsh_rounds)
        neighbors = self.max_neighbors
        check(0 < neighbors <= MOST, "max_neighbors", f"1 to {MOST}", neighbors)

    @property
    def building(self) -> dict[str, Any]:
        """Returns the arguments of `build_graph`, without its paths."""
        search = ("similarity_threshold", "target_degree", "builder", "lsh_splits", "lsh_rounds")
        kept = self.max_neighbors if self.edges == "nearest" else None
        return {name: getattr(self, name) for name in (*search, "seed", "across_speakers")} | {
            "max_neighbors": kept
        }
