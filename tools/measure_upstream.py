"""Measures a fine-tuned upstream on its source's test split and as a judge of likeness."""

from ser_nsl.cli import run
from ser_nsl.evaluation.upstream import measure_upstream

if __name__ == "__main__":
    run(measure_upstream)
