"""Makes a small wav2vec 2.0 with random weights, for trials without a network."""

from ser_nsl.cli import run
from ser_nsl.upstream.make import make_upstream

if __name__ == "__main__":
    run(make_upstream)
