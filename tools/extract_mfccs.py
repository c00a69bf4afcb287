"""Embeds clips without an upstream, by the statistics of their MFCCs."""

from ser_nsl.cli import run
from ser_nsl.embeddings.mfcc import extract_mfccs

if __name__ == "__main__":
    run(extract_mfccs)
