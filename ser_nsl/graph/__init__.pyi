from .build import build_graph
from .controls import control_graph
from .embedding_map import lay_out
from .fuse import fuse_embeddings
from .inspect import inspect_graph
from .pack import pack_neighbors
from .probe import probe_embeddings
from .select import select_edges
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
    "GraphStatistics",
    "build_graph",
    "control_graph",
    "edges_by_emotion",
    "fuse_embeddings",
    "graph_statistics",
    "inspect_graph",
    "lay_out",
    "pack_neighbors",
    "probe_embeddings",
    "read_clip_graph",
    "read_graph",
    "select_edges",
    "wrong_edges",
]
