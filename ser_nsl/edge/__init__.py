"""Runs an exported recogniser: NumPy, soundfile, soxr and a TFLite runtime, nothing else."""

from ser_nsl.edge.recognizer import (
    FORMAT_VERSION,
    LABELS_NAME,
    RUNTIMES,
    SETTINGS_NAME,
    Recognizer,
)
from ser_nsl.edge.stream import Prediction, Stream

__all__ = [
    "FORMAT_VERSION",
    "LABELS_NAME",
    "RUNTIMES",
    "SETTINGS_NAME",
    "Prediction",
    "Recognizer",
    "Stream",
]
