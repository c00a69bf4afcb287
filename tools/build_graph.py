"""Joins clips whose embeddings are similar."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("build-graph")
