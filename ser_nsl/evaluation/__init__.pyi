from .model import evaluate, read_metrics
from .scores import score, z_test
from .statistics import bootstrap_interval, sign_flip_test
from .uar import UAR
from .upstream import measure_upstream

__all__ = [
    "UAR",
    "bootstrap_interval",
    "evaluate",
    "measure_upstream",
    "read_metrics",
    "score",
    "sign_flip_test",
    "z_test",
]
