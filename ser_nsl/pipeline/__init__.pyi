from .experiment import Experiment, load_experiment
from .plan import run_pipeline
from .run_sweep import run_sweep
from .stage import StageResult, is_current, read_record, trace
from .sweep import Run, SweepConfig, list_runs, load_sweep
from .sweep_results import read_results

__all__ = [
    "Experiment",
    "Run",
    "StageResult",
    "SweepConfig",
    "is_current",
    "list_runs",
    "load_experiment",
    "load_sweep",
    "read_record",
    "read_results",
    "run_pipeline",
    "run_sweep",
    "trace",
]
