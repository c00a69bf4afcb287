"""Writes log Mel records of every clip of a manifest."""

from ser_nsl.audio.features import extract_features
from ser_nsl.cli import run

if __name__ == "__main__":
    run(extract_features)
