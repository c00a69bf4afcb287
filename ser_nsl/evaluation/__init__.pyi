from .baseline import evaluate_baseline
from .model import evaluate, read_metrics
from .scores import score, z_test
from .statistics import (
    bootstrap_interval,
    holm,
    mcnemar_test,
    ratio_interval,
    sign_flip_test,
    smallest_p,
    uar_interval,
)
from .uar import UAR
from .upstream import measure_upstream

__all__ = [
    "UAR",
    "bootstrap_interval",
    "evaluate",
    "evaluate_baseline",
    "holm",
    "mcnemar_test",
    "measure_upstream",
    "ratio_interval",
    "read_metrics",
    "score",
    "sign_flip_test",
    "smallest_p",
    "uar_interval",
    "z_test",
]
