"""Replaces training embeddings by the emotions that a linear probe reads from them."""

from ser_nsl.cli import run
from ser_nsl.embeddings.probe import probe_embeddings

if __name__ == "__main__":
    run(probe_embeddings)
