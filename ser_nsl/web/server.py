"""Serves the page, recognisers and the JavaScript packages, and nothing from other servers.

Any static server can serve the page: beside it must be `contents.js`, the recognisers that this
names, and the folder `node_modules` that npm installs.
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ser_nsl.errors import InputError
from ser_nsl.web.contents import PAGE, Offer, write_contents
from ser_nsl.web.npm import WEB

CONTENTS_ROUTE = "/contents.js"
PACKAGES_ROUTE = "/node_modules/"

_SILENT_SECONDS = 20
_CONNECTION_SECONDS = 600
_CHUNK_BYTES = 1 << 16
_LOCK = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
_PACKAGES = tuple(f"{n.removeprefix('node_modules/')}/" for n in _LOCK["packages"] if n)
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
# Nothing but this server, whatever a script may try.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{import_map}'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageServer(ThreadingHTTPServer):
    """A server of the page, listening and ready for `serve_forever`.

    Attributes:
        address: URL of the page.
    """

    daemon_threads = True

    def __init__(
        self,
        offers: Sequence[Offer],
        packages: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """Starts listening.

        Args:
            offers: The recognisers, of which the page chooses the first at first.
            packages: The folder `node_modules` with the packages of the page.
            host: IPv4 address or name to listen on; `0.0.0.0` means all addresses of the machine.
            port: Port to listen on; 0 takes a free one.
            certificate: PEM file with the certificate for https; None for plain http.
            key: PEM file with its private key, unless that is in `certificate`.

        Raises:
            InputError: If the certificate or the address cannot be used.
        """
        secured = _load_certificate(certificate, key)
        self._made = tempfile.TemporaryDirectory()
        contents = Path(self._made.name, "contents.js")
        contents.write_text(write_contents(offers), encoding="utf-8")
        self._files = {CONTENTS_ROUTE: contents} | {offer.route: offer.path for offer in offers}
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
        self.packages = packages
        names = (host, socket.gethostname(), f"{socket.gethostname()}.local", socket.getfqdn())
        self._names = {"localhost", *(each.lower() for each in names)}
        self._secured = secured is not None
        self.headers = _headers((PAGE / "index.html").read_text(encoding="utf-8"))

    def is_own_name(self, host: str) -> bool:
        """Returns whether a request may be for this server, by the name that it was sent to.

        A page of another server could otherwise read from this one, once its name leads here. With
        https, browsers have compared the name with the certificate.

        Args:
            host: The request's header `Host`.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name in self._names or name.endswith(".localhost") or (self._secured and bool(name))

    def find(self, route: str) -> Path | None:
        """Returns the file of a route: of the page, a package or a recogniser; None for others.

        Args:
            route: Path of a request, as it was sent.
        """
        try:
            asked = unquote(urlsplit(route).path, errors="surrogateescape")
            if asked in self._files:
                return self._files[asked] if self._files[asked].is_file() else None
            folder, name = PAGE, asked.removeprefix("/") or "index.html"
            if asked.startswith(PACKAGES_ROUTE):
                folder, name = self.packages, asked.removeprefix(PACKAGES_ROUTE)
                if not name.startswith(_PACKAGES):
                    return None
            path = (folder / name).resolve()
            inside = path.is_relative_to(folder.resolve())  # links may lead anywhere
            return path if inside and path.is_file() else None
        except (ValueError, OSError, RuntimeError):  # such as %00, or a name that is too long
            return None

    def server_close(self) -> None:
        """Stops listening."""
        super().server_close()
        self._made.cleanup()

    def handle_error(self, request: Any, client_address: tuple[str, int]) -> None:
        """Ignores browsers that go or wait too long, or that use http where https is served."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError | ssl.SSLError):
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
        "Cache-Control": "no-cache",  # all may change
    }


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD with files of the page or its packages, or with a recogniser."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = _SILENT_SECONDS
    # Listed here, since the system's own table may lack or change them.
    extensions_map = {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".webmanifest": "application/manifest+json",
        ".wasm": "application/wasm",
    }

    def handle(self) -> None:
        """Answers the requests of a connection, which ends however slowly it is used."""
        limit = threading.Timer(_CONNECTION_SECONDS, self._end)
        limit.daemon = True
        limit.start()
        try:
            super().handle()
        finally:
            limit.cancel()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_head(self) -> BinaryIO | None:
        """Sends status and headers; returns the file, at the first byte to send, or None."""
        if not self.server.is_own_name(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "Not a name of this server")
            return None
        path = self.server.find(self.path)
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        file = path.open("rb")
        state = os.fstat(file.fileno())
        changed = self.date_time_string(int(state.st_mtime))
        asked = self.headers.get("Range", "")
        first, end = _span(asked, state.st_size)
        if self.headers.get("If-Modified-Since") == changed:
            status = HTTPStatus.NOT_MODIFIED
        elif first >= end and asked:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        else:
            status = HTTPStatus.PARTIAL_CONTENT if end - first < state.st_size else HTTPStatus.OK
        self.send_response(status)
        self.send_header("Last-Modified", changed)
        self.send_header("Accept-Ranges", "bytes")
        if status == HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{state.st_size}")
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self.send_header("Content-Type", self.guess_type(path))
            self.send_header("Content-Length", str(end - first))
            self.end_headers()
            file.seek(first)
            self._left = end - first
            return file
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.send_header("Content-Range", f"bytes */{state.st_size}")
            self.send_header("Content-Length", "0")
        self.end_headers()
        file.close()
        return None

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Sends as many bytes as the headers have promised."""
        while chunk := source.read(min(self._left, _CHUNK_BYTES)):
            outputfile.write(chunk)
            self._left -= len(chunk)

    def end_headers(self) -> None:
        """Adds the headers that all answers have."""
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, *_: object) -> None:
        """Logs no successful requests; errors are still logged."""


def _span(asked: str, size: int) -> tuple[int, int]:
    """Returns the first byte and the end of what is asked for: all, unless it is one range."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", asked.strip())
    if match is None or match[1] == match[2] == "":
        return 0, size
    if not match[1]:  # the last bytes
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
