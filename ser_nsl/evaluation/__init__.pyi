from .model import evaluate, read_metrics
from .scores import score, z_test
from .statistics import Comparison, compare, tabulate_runs
from .uar import UAR
from .upstream import measure_upstream

__all__ = [
    "Comparison",
    "UAR",
    "compare",
    "evaluate",
    "measure_upstream",
    "read_metrics",
    "score",
    "tabulate_runs",
    "z_test",
]
