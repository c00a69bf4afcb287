import contextlib
import http.client
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_nsl.edge import Recognizer, find_model
from ser_nsl.edge.models import DEFAULT_MODEL
from ser_nsl.errors import InputError
from ser_nsl.web import serve as module
from ser_nsl.web import server as web_server
from ser_nsl.web.contents import Offer, offer_models, write_contents
from ser_nsl.web.serve import serve
from ser_nsl.web.server import PAGE, PageServer

MODEL = find_model("emodb")
OFFER = Offer("German", MODEL)


@pytest.fixture(scope="module")
def server(serve_page, tmp_path_factory) -> Iterator[PageServer]:
    """Serves small files in the place of the packages."""
    packages = tmp_path_factory.mktemp("web") / "node_modules"
    (packages / "@litertjs" / "core").mkdir(parents=True)
    for name in ("index.js", "litert.wasm"):
        (packages / "@litertjs" / "core" / name).touch()
    (packages.parent / "server.py").touch()
    (packages / ".package-lock.json").touch()
    (packages / "left-pad").mkdir()
    (packages / "left-pad" / "index.js").touch()  # of somebody else
    (packages.parent / "secrets").mkdir()
    (packages.parent / "secrets" / "secret.js").touch()
    (packages / "@litertjs" / "core" / "link.js").symlink_to(packages.parent / "server.py")
    (packages / "fflate").symlink_to(packages.parent / "secrets")
    with serve_page([MODEL], packages) as server:
        yield server


def get(
    server: PageServer, route: str, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Requests a route as it is, without the normalisation of a browser."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", route, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(
    "route, kind",
    [
        ("/", "text/html; charset=utf-8"),
        ("/main.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/icon-192.png", "image/png"),
        ("/manifest.webmanifest", "application/manifest+json"),
        ("/contents.js", "text/javascript; charset=utf-8"),
        (f"{OFFER.route}?again", "application/octet-stream"),
        ("/node_modules/@litertjs/core/index.js", "text/javascript; charset=utf-8"),
        ("/node_modules/@litertjs/core/litert.wasm", "application/wasm"),
    ],
)
def test_files_have_types_and_the_policy(server, route, kind):
    status, headers, body = get(server, route)

    assert status == 200
    assert headers["Content-Type"] == kind
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
    assert (body == MODEL.read_bytes()) == route.startswith("/recognisers/")


@pytest.mark.parametrize(
    "route",
    [
        "/node_modules/",
        "/node_modules/@litertjs/core",
        "/server.py",
        "/../server.py",
        "/%2e%2e/server.py",
        "/node_modules/../server.py",
        "/node_modules/..%2fserver.py",
        "/node_modules/node_modules/../../server.py",
        "/node_modules/.package-lock.json",
        "/node_modules/left-pad/index.js",
        "/node_modules/@litertjs/core/link.js",
        "/node_modules/fflate/secret.js",
        "/recognisers/",
        "/recognisers/emodb.tflite",
        "/main.js%00",
        "/%00",
        "/" + 300 * "x",
        "//[::1/main.js",
        "/%ff",
    ],
)
def test_nothing_else_is_served(server, route):
    status, headers, _ = get(server, route)
    if status == 301:  # a folder without its slash
        status, headers, _ = get(server, headers["Location"])

    assert status == 404
    assert "Content-Security-Policy" in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "[::1", "localhost.evil"])
def test_other_names_than_its_own_are_refused(host, server):
    assert get(server, "/", Host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.0.7:1"])
def test_own_names_are_answered(host, server):
    assert get(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-999999999999", 5, None),
        ("bytes=0-1,5-6", 0, None),
        ("lines=1-2", 0, None),
    ],
)
def test_ranges(asked, first, end, server):
    whole = MODEL.read_bytes()
    status, headers, body = get(server, OFFER.route, Range=asked)

    assert body == whole[first:end]
    assert status == (200 if len(body) == len(whole) else 206)
    assert headers["Content-Length"] == str(len(body))
    if status == 206:
        start = first % len(whole)
        assert headers["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=9-3", "bytes=-0"])
def test_ranges_that_cannot_be(asked, server):
    status, headers, body = get(server, OFFER.route, Range=asked)

    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{MODEL.stat().st_size}"


def test_what_has_not_changed_is_not_sent_again(server):
    _, headers, _ = get(server, "/main.js")
    again = {"If-Modified-Since": headers["Last-Modified"]}

    assert get(server, "/main.js", **again)[::2] == (304, b"")


def test_connections_have_time_limits(serve_page, tmp_path, monkeypatch):
    monkeypatch.setattr(web_server, "_CONNECTION_SECONDS", 0.5)
    with (
        serve_page([MODEL], tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")  # and never the rest

        assert slow.recv(1) == b""
    assert 0 < web_server._Handler.timeout < 60


def test_the_page_names_no_other_origin():
    own = [path.read_text() for path in PAGE.iterdir() if path.suffix != ".png"]

    assert own
    assert not [text for text in own if "https:" in text or "//cdn" in text]


def test_a_taken_port_is_named(server):
    with pytest.raises(InputError, match=f"port {server.server_port}: cannot .* in use"):
        PageServer([OFFER], server.packages, port=server.server_port)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"port": 70_000}, "port 70000: .*0-65535"),
        ({"host": "no.such.host.invalid"}, "host no.such.host.invalid"),
        ({"key": Path("key.pem")}, "key: needs a certificate"),
        ({"certificate": Path("absent.pem")}, "certificate absent.pem.*No such file"),
    ],
)
def test_wrong_addresses_and_certificates_are_named(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        PageServer([OFFER], tmp_path, **{"port": 0} | changed)


def test_https(serve_page, tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    with serve_page([MODEL], tmp_path, certificate=certificate, key=key) as server:
        trusting = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(server.address, context=trusting, timeout=60) as answer:
            page = answer.read()

    assert server.address.startswith("https://127.0.0.1:")
    assert page == (PAGE / "index.html").read_bytes()


def test_all_shipped_recognisers_are_offered_after_the_given_one(tmp_path):
    shipped = [offer.path for offer in offer_models(None)]
    (tmp_path / "own.tflite").write_bytes(MODEL.read_bytes())

    assert shipped[0] == find_model(DEFAULT_MODEL)
    assert [Recognizer(path).name for path in shipped]
    assert offer_models("emodb")[0].title == "German (emodb)"
    assert {offer.path for offer in offer_models("emodb")} == set(shipped)
    own = offer_models(str(tmp_path / "own.tflite"))
    assert [own[0].title, *(offer.path for offer in own[1:])] == ["own.tflite", *shipped]


def test_another_recogniser_is_another_version(tmp_path):
    model = tmp_path / "own.tflite"
    contents = []
    for added in (b"", b"", b"more"):
        model.write_bytes(MODEL.read_bytes() + added)
        contents.append(write_contents([Offer("own", model)]))

    first, same, changed = (text.splitlines() for text in contents)
    assert first == same
    different = [old for old, new in zip(first, changed, strict=True) if old != new]
    assert ["version" in different[0], "url" in different[1], len(different)] == [True, True, 2]


def test_a_bad_recogniser_is_named_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "install_packages", lambda: pytest.fail("npm was called"))
    (tmp_path / "page.tflite").write_text("<!doctype html>")

    with pytest.raises(InputError, match=r"page\.tflite: is not a TFLite file"):
        serve(model=str(tmp_path / "page.tflite"))


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(packages):
    command = [sys.executable, "-m", "ser_nsl.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().split()[4]
        with urllib.request.urlopen(address, timeout=60) as answer:
            page = answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert page == (PAGE / "index.html").read_bytes()
    assert "Traceback" not in errors
    assert process.returncode == 0
