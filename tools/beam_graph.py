"""Makes a graph and training records with Apache Beam, here or on a cluster."""

from ser_nsl import cli  # before TensorFlow, which it keeps quiet
from ser_nsl.beam.run import beam_graph

if __name__ == "__main__":
    cli.run(beam_graph)
