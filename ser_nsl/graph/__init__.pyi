from .build import build_graph
from .controls import control_graph
from .embedding_map import lay_out
from .exact import build_graph_from_config
from .pack import pack_neighbors
from .propagate import correct_and_smooth, propagate_labels
from .select import select_edges
from .settings import GraphConfig
from .stand_in import pack_nbrs
from .statistics import (
    ClipGraph,
    GraphStatistics,
    edges_by_emotion,
    graph_statistics,
    read_clip_graph,
    wrong_edges,
)
from .table import read_graph

__all__ = [
    "ClipGraph",
    "GraphConfig",
    "GraphStatistics",
    "build_graph",
    "build_graph_from_config",
    "control_graph",
    "correct_and_smooth",
    "edges_by_emotion",
    "graph_statistics",
    "lay_out",
    "pack_nbrs",
    "pack_neighbors",
    "propagate_labels",
    "read_clip_graph",
    "read_graph",
    "select_edges",
    "wrong_edges",
]
