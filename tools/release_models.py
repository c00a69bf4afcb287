"""Puts a run's recognisers into models/, with a card, and renews the list of all models."""

from functools import wraps
from typing import Any

from ser_nsl.cli import run
from ser_nsl.export.release import release_recognisers, write_cards


@wraps(release_recognisers)
def main(**arguments: Any) -> str:
    """Releases, and describes."""
    result = release_recognisers(**arguments)
    write_cards(result.out.parent)
    return str(result)


if __name__ == "__main__":
    run(main)
