"""Embeds clips with a wav2vec 2.0."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("extract-embeddings")
