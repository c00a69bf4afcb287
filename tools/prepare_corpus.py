"""Reads a corpus, checks each clip, divides the speakers, and writes the manifest."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("prepare-corpus")
