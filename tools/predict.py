"""Recognises the emotion in audio; the base install is enough."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("predict")
