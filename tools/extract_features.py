"""Computes log Mel records of every clip."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("extract-features")
