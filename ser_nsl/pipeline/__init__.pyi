from .comparison import Comparison, compare, tabulate_runs
from .experiment import Experiment, load_experiment
from .record import read_record, trace
from .results import read_results
from .run import run_pipeline
from .stage import StageResult, is_current
from .sweep import run_sweep
from .sweep_config import SweepConfig, list_runs, load_sweep
from .sweep_run import Run

__all__ = [
    "Comparison",
    "Experiment",
    "Run",
    "StageResult",
    "SweepConfig",
    "compare",
    "is_current",
    "list_runs",
    "load_experiment",
    "load_sweep",
    "read_record",
    "read_results",
    "run_pipeline",
    "run_sweep",
    "tabulate_runs",
    "trace",
]
