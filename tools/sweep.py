"""Trains and scores many networks, over folds and arms."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("sweep")
