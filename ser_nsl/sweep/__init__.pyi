from .config import Run, SweepConfig, list_runs, load_sweep
from .results import read_results
from .statistics import Comparison, compare, tabulate_runs
from .sweep import run_sweep

__all__ = [
    "Comparison",
    "Run",
    "SweepConfig",
    "compare",
    "list_runs",
    "load_sweep",
    "read_results",
    "run_sweep",
    "tabulate_runs",
]
