"""Downloads a corpus from its official archive."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("download-corpus")
