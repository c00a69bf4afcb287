"""Checks a built site without a network: every link works, every public name is described.

python docs/check_site.py build/docs
"""

import ast
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util.inventory import InventoryFile

PACKAGE = Path(__file__).parents[1] / "ser_nsl"


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        """Reads the page."""
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collects the links and the id of a tag."""
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def dead_links(site: Path) -> Iterator[str]:
    """Finds links within the site that lead nowhere.

    Args:
        site: Folder of the site.

    Yields:
        Page and link.
    """
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            lacks_anchor = anchor and target in pages and anchor not in pages[target].anchors
            if not target.is_file() or lacks_anchor:
                yield f"{path.relative_to(site.resolve())}: {link}"


def public_names() -> Iterator[str]:
    """Lists the names in `__all__` of modules and packages.

    Yields:
        Full names.
    """
    for path in [*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__init__.py*")]:
        module = path.parent if path.stem == "__init__" else path.with_suffix("")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                for name in ast.literal_eval(node.value):
                    yield f"ser_nsl.{module.name}.{name}"


def missing_names(site: Path) -> Iterator[str]:
    """Finds public names that no page describes.

    Args:
        site: Folder of the site.

    Yields:
        Full names.
    """
    index = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    described = {name for kind, names in index.items() if kind.startswith("py:") for name in names}
    yield from sorted(set(public_names()) - described)


if __name__ == "__main__":
    site = Path(sys.argv[1])
    faults = [f"dead link in {link}" for link in dead_links(site)]
    faults += [f"no page describes {name}" for name in missing_names(site)]
    sys.exit("\n".join(faults) or 0)
