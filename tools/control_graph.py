"""Makes a random or an all-knowing twin of a graph."""

from ser_nsl.cli import run
from ser_nsl.graph.controls import control_graph

if __name__ == "__main__":
    run(control_graph)
