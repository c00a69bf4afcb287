"""Takes out of embeddings what a speaker's clips have in common."""

from ser_nsl.cli import run
from ser_nsl.embeddings.center import center_embeddings

if __name__ == "__main__":
    run(center_embeddings)
