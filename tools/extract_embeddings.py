"""Embeds clips with the fine-tuned upstream."""

from ser_nsl.cli import run
from ser_nsl.upstream.embed import extract_embeddings

if __name__ == "__main__":
    run(extract_embeddings)
