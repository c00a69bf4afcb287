"""Makes a graph and training records with Apache Beam, here or on a cluster."""

from ser_nsl.beam.run import beam_graph
from ser_nsl.cli import run

if __name__ == "__main__":
    run(beam_graph)
