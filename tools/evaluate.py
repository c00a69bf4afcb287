"""Scores a model on every clip of a split, once."""

from ser_nsl.cli import run
from ser_nsl.evaluation.model import evaluate

if __name__ == "__main__":
    run(evaluate)
