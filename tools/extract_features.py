"""Writes log Mel records of every clip of a manifest."""

from ser_nsl.cli import run

if __name__ == "__main__":
    from ser_nsl.features import extract_features

    run(extract_features)
