"""Measures trained networks as apps would run them: speed, size, memory and UAR of all forms."""

from ser_nsl.cli import run
from ser_nsl.export.benchmark import benchmark_tflite

if __name__ == "__main__":
    run(benchmark_tflite)
