"""Gives training clips without a label the emotion that a probe finds likeliest."""

from ser_nsl.cli import run
from ser_nsl.training.pseudo_labels import pseudo_label

if __name__ == "__main__":
    run(pseudo_label)
