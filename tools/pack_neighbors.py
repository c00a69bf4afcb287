"""Writes training records: each labelled clip with the features of its nearest neighbours."""

from ser_nsl.cli import run
from ser_nsl.graph.pack import pack_neighbors

if __name__ == "__main__":
    run(pack_neighbors)
