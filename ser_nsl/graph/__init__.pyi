from .build import build_graph
from .controls import control_graph
from .fuse import fuse_embeddings
from .inspect import inspect_graph
from .pack import pack_neighbors
from .probe import probe_embeddings
from .select import select_edges
from .statistics import (
    ClipGraph,
    GraphStatistics,
    graph_statistics,
    read_clip_graph,
)
from .table import read_graph

__all__ = [
    "ClipGraph",
    "GraphStatistics",
    "build_graph",
    "control_graph",
    "fuse_embeddings",
    "graph_statistics",
    "inspect_graph",
    "pack_neighbors",
    "probe_embeddings",
    "read_clip_graph",
    "read_graph",
    "select_edges",
]
