"""Serves the page, the recogniser and the JavaScript packages, and nothing from other servers.

Any static server can serve the page: beside it must be `recogniser.tflite` and the folder
`node_modules` that npm installs.
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

from ser_nsl.errors import InputError

PAGE = Path(__file__).parent / "page"
MODEL_ROUTE = "/recogniser.tflite"
PACKAGES_ROUTE = "/node_modules/"

_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
# Nothing but this server, whatever a script may try.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{import_map}'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class PageServer(ThreadingHTTPServer):
    """A server of the page, listening and ready for `serve_forever`.

    Attributes:
        address: URL of the page.
    """

    daemon_threads = True

    def __init__(
        self,
        model: Path,
        packages: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """Starts listening.

        Args:
            model: `.tflite` file made by `ser-nsl export-tflite`.
            packages: The folder `node_modules` with the packages of the page.
            host: IPv4 address or name to listen on; `0.0.0.0` means all addresses of the machine.
            port: Port to listen on; 0 takes a free one.
            certificate: PEM file with the certificate for https; None for plain http.
            key: PEM file with its private key, unless that is in `certificate`.

        Raises:
            InputError: If the certificate or the address cannot be used.
        """
        secured = _load_certificate(certificate, key)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:  # the latter above port 65535
            raise InputError(
                f"host {host}, port {port}: cannot be used ({error}); choose "
                "another port with --port, or another address of this machine with --host."
            ) from error
        if secured:
            # Each connection's own thread does the handshake, so that none delays the others.
            self.socket = secured.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        name = socket.gethostname() if host == "0.0.0.0" else host
        self.address = f"http{'s' if secured else ''}://{name}:{self.server_port}/"
        self.model = model
        self.packages = packages
        self.headers = _headers((PAGE / "index.html").read_text(encoding="utf-8"))

    def handle_error(self, request: Any, client_address: tuple[str, int]) -> None:
        """Ignores browsers that close the connection, or that use http where https is served."""
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
    """Returns the headers of every answer."""
    import_map = "".join(_IMPORT_MAP.findall(page))
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    return {
        "Content-Security-Policy": _POLICY.format(import_map=digest),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self)",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",  # the recogniser may change
    }


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD with files of the page or its packages, or with the recogniser."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    # Listed here, since the system's own table may lack or change them.
    extensions_map = {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
    }

    def translate_path(self, path: str) -> str:
        """Returns the file of a route; the base class keeps it inside `directory`."""
        route = urlsplit(path).path
        if route == MODEL_ROUTE:
            return str(self.server.model)
        of_packages = route.startswith(PACKAGES_ROUTE)
        self.directory = str(self.server.packages if of_packages else PAGE)
        return super().translate_path(route.removeprefix(PACKAGES_ROUTE))

    def list_directory(self, path: str | PathLike[str]) -> None:
        """Answers that there is nothing, instead of listing the folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Adds the headers that all answers have."""
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, *_: object) -> None:
        """Logs no successful requests; errors are still logged."""
