"""Reads a corpus, checks each clip, splits the speakers, and writes the manifest."""

from ser_nsl.cli import run
from ser_nsl.corpora import prepare_corpus

if __name__ == "__main__":
    run(prepare_corpus)
