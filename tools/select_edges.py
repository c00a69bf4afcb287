"""Keeps edges of a graph between speakers, mutual neighbours or the nearest clips."""

from ser_nsl.cli import run
from ser_nsl.graph.select import select_edges

if __name__ == "__main__":
    run(select_edges)
