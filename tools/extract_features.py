"""Writes log Mel records of every clip of a manifest."""

from ser_nsl.cli import run
from ser_nsl.features import extract_features

if __name__ == "__main__":
    run(extract_features)
