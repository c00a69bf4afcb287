"""Serves the page, the recogniser and LiteRT.js from this machine, and nothing from elsewhere.

The page could lie on any static server: all it needs beside it is `recogniser.tflite` and the
folder `@litertjs` that npm installs.
"""

import base64
import hashlib
import re
import socket
import ssl
import sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.web.litert import RUNTIME

PAGE = Path(__file__).parent / "page"
PACKAGES = Path(__file__).parent / "node_modules"
MODEL_ROUTE = "/recogniser.tflite"

_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_WILDCARD = "0.0.0.0"
_LARGEST_PORT = 65_535


class PageServer(ThreadingHTTPServer):
    """A server of the page, bound and ready for `serve_forever`.

    Attributes:
        address: Where a browser finds the page.
    """

    daemon_threads = True

    def __init__(
        self,
        model: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        certificate: Path | None = None,
        key: Path | None = None,
        packages: Path = PACKAGES,
    ) -> None:
        """Checks what is to be served, and binds.

        Args:
            model: `.tflite` file made by `tools/export_tflite.py`.
            host: IPv4 address or name to listen on; `0.0.0.0` listens on all of the machine's.
            port: Port to listen on; 0 takes one that is free.
            certificate: PEM file with the certificate for https; plain http without it.
            key: PEM file with its private key, if that is not in `certificate`.
            packages: The folder `node_modules` that npm has put LiteRT.js in.

        Raises:
            InputError: If the recogniser, LiteRT.js or the certificate cannot be used, or the
                address cannot be bound.
        """
        Recognizer(model)
        if not (packages / RUNTIME).is_file():
            raise InputError(
                f"{packages}: holds no LiteRT.js; install it: npm ci --prefix {packages.parent}"
            )
        if not 0 <= port <= _LARGEST_PORT:
            raise InputError(f"port: must be between 0 and {_LARGEST_PORT}; received {port}.")
        secured = _load_certificate(certificate, key)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"host {host}, port {port}: cannot be listened on ({error.strerror}); choose "
                "another port with --port, or another address of this machine with --host."
            ) from error
        if secured:
            # The handshake is left to the connection's thread, so that none holds up the others.
            self.socket = secured.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        name = socket.gethostname() if host == _WILDCARD else host
        self.address = f"http{'s' if secured else ''}://{name}:{self.server_port}/"
        self.model = model
        self.packages = packages
        self.headers = _headers((PAGE / "index.html").read_text(encoding="utf-8"))

    def handle_error(self, request: Any, client_address: tuple[str, int]) -> None:
        """Passes over browsers that hang up, or that speak http where https is served."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


def _load_certificate(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise InputError(f"key: needs a certificate too; received {key} without one.")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(
            f"certificate {certificate}, key {key or certificate}: cannot be used "
            f"({error.strerror}); both must be PEM files and belong together."
        ) from error
    return context


def _headers(page: str) -> dict[str, str]:
    """What the browser must hold to: nothing but this origin, whatever a script may try."""
    import_map = "".join(_IMPORT_MAP.findall(page))
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' 'wasm-unsafe-eval' 'sha256-{digest}'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(" ".join(each) for each in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self)",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",  # ask again: the model may be a new one
    }


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD with files of the page, of LiteRT.js, or the recogniser."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    # Named here, since the machine's own table may lack or change them.
    extensions_map = {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
        ".tflite": "application/octet-stream",
    }

    def translate_path(self, path: str) -> str:
        """Finds the file of a route; the base class keeps it inside its folder."""
        route = urlsplit(path).path
        if route == MODEL_ROUTE:
            return str(self.server.model)
        packages = route.startswith("/@litertjs/")
        self.directory = str(self.server.packages if packages else PAGE)
        return super().translate_path(path)

    def list_directory(self, path: str | PathLike[str]) -> None:
        """Lists no folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Adds the headers of every answer."""
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, *_: object) -> None:
        """Says nothing of answers that went well; errors are still written."""
