"""Trains a wav2vec 2.0 on the emotions of the source corpus."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("finetune-upstream")
