from .inspection import inspect_graph
from .run import make_report
from .sweep import make_sweep_report

__all__ = ["inspect_graph", "make_report", "make_sweep_report"]
