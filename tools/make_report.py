"""Makes the report of a run or of a sweep."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("make-report")
