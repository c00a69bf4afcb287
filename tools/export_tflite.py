"""Makes one `.tflite` file of a trained model, for apps."""

from ser_nsl.cli import run
from ser_nsl.export.tflite import export_tflite

if __name__ == "__main__":
    run(export_tflite)
