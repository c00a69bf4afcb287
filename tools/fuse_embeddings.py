"""Joins embeddings of several kinds into one."""

from ser_nsl.cli import run
from ser_nsl.embeddings.fuse import fuse_embeddings

if __name__ == "__main__":
    run(fuse_embeddings)
