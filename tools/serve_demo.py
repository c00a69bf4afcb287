"""Serves a page that runs a recogniser in the browser; the base install and npm."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("serve")
