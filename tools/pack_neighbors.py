"""Packs each clip's features with those of its neighbours."""

from ser_nsl.cli import run

if __name__ == "__main__":
    run("pack-neighbors")
