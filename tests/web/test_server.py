import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.web.server import PAGE, PageServer

ROOT = Path(__file__).parents[2]
SERVE_DEMO = ROOT / "tools" / "serve_demo.py"


def get(server: PageServer, route: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Asks for a route as it stands, without the tidying of a browser."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", route)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(
    "route, kind",
    [
        ("/", "text/html; charset=utf-8"),
        ("/main.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/recogniser.tflite?again", "application/octet-stream"),
        ("/@litertjs/core/dist/index.js", "text/javascript; charset=utf-8"),
        ("/@litertjs/core/wasm/litert_wasm_internal.wasm", "application/wasm"),
    ],
)
def test_files_have_types_and_the_policy(page_server, route, kind):
    status, headers, _ = get(page_server, route)

    assert status == 200
    assert headers["Content-Type"] == kind
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy


def test_the_recogniser_is_served_byte_for_byte(page_server, recogniser):
    assert get(page_server, "/recogniser.tflite")[2] == recogniser.read_bytes()


@pytest.mark.parametrize(
    "route",
    [
        "/@litertjs/",
        "/@litertjs/core",
        "/server.py",
        "/../server.py",
        "/%2e%2e/server.py",
        "/@litertjs/../../server.py",
        "/@litertjs/..%2f..%2fserver.py",
        "/package.json",
    ],
)
def test_nothing_else_is_served(page_server, route):
    status, headers, _ = get(page_server, route)
    if status == 301:  # a folder without its slash
        status, headers, _ = get(page_server, headers["Location"])

    assert status == 404
    assert "Content-Security-Policy" in headers


def test_the_page_names_no_other_origin():
    own = [path.read_text() for path in PAGE.iterdir()]

    assert own
    assert not [text for text in own if "https:" in text or "//cdn" in text]


def test_a_taken_port_is_named(page_server, recogniser):
    with pytest.raises(InputError, match=f"port {page_server.server_port}: cannot .* in use"):
        PageServer(recogniser, port=page_server.server_port)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"port": 70_000}, "port: .* received 70000"),
        ({"host": "no.such.host.invalid"}, "host no.such.host.invalid"),
        ({"key": Path("key.pem")}, "key: needs a certificate"),
        ({"certificate": Path("absent.pem")}, "certificate absent.pem.*No such file"),
    ],
)
def test_wrong_addresses_and_certificates_are_named(recogniser, litert, changed, message):
    with pytest.raises(InputError, match=message):
        PageServer(recogniser, **{"port": 0} | changed)


def test_a_file_that_is_no_recogniser_is_refused(tmp_path, litert):
    path = tmp_path / "page.tflite"
    path.write_text("<!doctype html>")

    with pytest.raises(InputError, match=r"page\.tflite: is not a TFLite file"):
        PageServer(path, port=0)


def test_the_command_that_installs_litert_is_said(recogniser, tmp_path):
    with pytest.raises(InputError, match=f"npm ci --prefix {tmp_path}$"):
        PageServer(recogniser, port=0, packages=tmp_path / "node_modules")


def test_the_script_takes_litert_from_its_checkout(recogniser, litert, tmp_path):
    """As after `pip install .`, which copies the package without npm's packages."""
    shutil.copytree(
        ROOT / "ser_nsl", tmp_path / "ser_nsl", ignore=shutil.ignore_patterns("node_modules")
    )
    command = [sys.executable, SERVE_DEMO, "--model", recogniser, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        said = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)

    assert said.startswith("the page is at"), errors


def test_https(recogniser, litert, tmp_path):
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
    with PageServer(recogniser, port=0, certificate=certificate, key=key) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        trusting = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(server.address, context=trusting, timeout=10) as answer:
            page = answer.read()
        server.shutdown()

    assert server.address.startswith("https://127.0.0.1:")
    assert page == (PAGE / "index.html").read_bytes()


def test_the_script_serves_until_it_is_interrupted(recogniser, litert):
    command = [sys.executable, SERVE_DEMO, "--model", recogniser, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline()
        address = said.split()[4]
        with urllib.request.urlopen(address, timeout=10) as answer:
            page = answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(address + "absent", timeout=10)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)

    assert page == (PAGE / "index.html").read_bytes()
    assert "Traceback" not in errors
    assert process.returncode == 0


def test_the_script_says_in_one_line_what_is_wrong(tmp_path):
    result = subprocess.run(
        [sys.executable, SERVE_DEMO, "--model", tmp_path / "absent.tflite"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert "absent.tflite: cannot be read" in result.stderr
