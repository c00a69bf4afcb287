"""Runs all stages of an experiment, in order."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("run-pipeline")
