"""Trains a light network on labels, and with nsl on the graph too."""

from ser_nsl.cli import run
from ser_nsl.training.train import train_downstream

if __name__ == "__main__":
    run(train_downstream)
