"""Trains a light network with labels and graph."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("train-downstream")
