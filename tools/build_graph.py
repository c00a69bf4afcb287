"""Joins clips whose embeddings have a high cosine similarity."""

from ser_nsl.cli import run
from ser_nsl.graph.build import build_graph

if __name__ == "__main__":
    run(build_graph)
