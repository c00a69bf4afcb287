import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ser_nsl.web.npm import WEB, is_installed
from ser_nsl.web.server import PageServer

PACKAGES = WEB / "node_modules"


@pytest.fixture(scope="session")
def packages() -> Path:
    """The npm packages of the page."""
    if not is_installed(PACKAGES):
        pytest.skip(f"the packages of the page are not installed: npm ci --prefix {WEB}")
    return PACKAGES


@pytest.fixture(scope="session")
def serve_page() -> Callable[..., AbstractContextManager[PageServer]]:
    """Serves the page with a recogniser, on a free port and in a thread."""

    @contextmanager
    def serve_page(model: Path, packages: Path, **settings) -> Iterator[PageServer]:
        with PageServer(model, packages, port=0, **settings) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server
            server.shutdown()

    return serve_page
