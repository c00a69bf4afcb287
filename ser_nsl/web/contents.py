"""What a server offers: recognisers, and a script that tells the page and its service worker."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ser_nsl.edge.models import DEFAULT_MODEL, find_model, read_list
from ser_nsl.web.npm import WEB

PAGE = Path(__file__).parent / "page"
"""Folder of the page's own files."""


class Offer(NamedTuple):
    """A recogniser that the page may choose.

    Attributes:
        title: Its name and language, for people.
        path: `.tflite` file.
        uar: Its UAR on speakers who were not in training, in [0, 1]; None if unknown.
    """

    title: str
    path: Path
    uar: float | None = None

    @property
    def route(self) -> str:
        """Path of its URL, which is another for other bytes."""
        return f"/recognisers/{_digest(self.path)[:16]}.tflite"


def offer_models(model: str | None) -> list[Offer]:
    """Returns the recognisers that ship with this package, after the one that was asked for.

    Args:
        model: Path of a `.tflite` file, or the name of a shipped recogniser; None for the default.

    Returns:
        The recognisers in the page's order, of which the first is chosen at first.

    Raises:
        InputError: If there is no such recogniser.

    Example:
        >>> [offer.title for offer in offer_models("recogniser.tflite")][:2]
        ['recogniser.tflite', 'English, German, Italian (everyone)']
    """
    shipped = {
        find_model(name): Offer(f"{entry['language']} ({name})", find_model(name), entry["uar"])
        for name, entry in read_list().items()
    }
    first = find_model(model or DEFAULT_MODEL)
    chosen = shipped.pop(first, Offer(first.name, first))
    return [chosen, *shipped.values()]


def write_contents(offers: Sequence[Offer]) -> str:
    """Writes the script `contents.js`, which sets the global `CONTENTS`.

    Args:
        offers: The recognisers.

    Returns:
        JavaScript. `CONTENTS` has `version`, which is another whenever a file of the page or a
        recogniser is, `files`, the page's own, and `recognisers` with title, UAR and URL.
    """
    own = sorted(path for path in PAGE.iterdir() if path.is_file())
    recognisers = [
        {"title": offer.title, "uar": offer.uar, "url": offer.route.removeprefix("/")}
        for offer in offers
    ]
    files = ["./", *(path.name for path in own)]
    contents = {
        "version": _version([*map(_digest, [*own, WEB / "package-lock.json"]), str(recognisers)]),
        "files": files,
        "recognisers": recognisers,
    }
    return f"self.CONTENTS = {json.dumps(contents, indent=1)};\n"


def _version(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
