"""Makes a .tflite file of a trained network."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("export-tflite")
