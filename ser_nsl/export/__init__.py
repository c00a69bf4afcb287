"""From a Keras model to one `.tflite` file: raw audio in, labelled probabilities out."""

from ser_nsl.export.report import report_table
from ser_nsl.export.tflite import export_tflite

__all__ = ["export_tflite", "report_table"]
