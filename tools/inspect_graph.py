"""Shows what a graph's edges join, where they are wrong, and a map of the embeddings."""

from ser_nsl.cli import run
from ser_nsl.reports.inspection import inspect_graph

if __name__ == "__main__":
    run(inspect_graph)
