"""Makes synthetic emotional speech."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("make-synthetic-corpus")
