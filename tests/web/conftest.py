import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ser_nsl.edge import LABELS_NAME, SETTINGS_NAME
from ser_nsl.web.contents import Offer
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
    """Serves the page with recognisers, on a free port unless one is given, and in a thread."""

    @contextmanager
    def serve_page(models: Sequence[Path], packages: Path, **settings) -> Iterator[PageServer]:
        offers = [Offer(model.name, model) for model in models]
        with PageServer(offers, packages, **{"port": 0} | settings) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server
            server.shutdown()

    return serve_page


@pytest.fixture(scope="session")
def with_settings() -> Callable[..., Path]:
    """Copies a recogniser with other labels and settings."""

    def with_settings(model: Path, copy: Path, labels: Sequence[str], **changed) -> Path:
        content = model.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            settings = json.loads(archive.read(SETTINGS_NAME)) | changed
            start = min(file.header_offset for file in archive.infolist())
        copy.write_bytes(content[:start])
        with zipfile.ZipFile(copy, "a") as archive:
            archive.writestr(LABELS_NAME, "\n".join(labels) + "\n")
            archive.writestr(SETTINGS_NAME, json.dumps(settings))
        return copy

    return with_settings
