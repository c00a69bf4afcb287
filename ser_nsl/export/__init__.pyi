from .benchmark import benchmark_tflite
from .release import release_recognisers
from .summary import report_table
from .tflite import export_tflite

__all__ = [
    "benchmark_tflite",
    "export_tflite",
    "release_recognisers",
    "report_table",
]
