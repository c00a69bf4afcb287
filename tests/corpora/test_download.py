"""Downloads from a server on loopback that interrupts, forgets, lies and attacks."""

import gc
import hashlib
import json
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from ser_nsl.corpora import download_corpus, known_corpora, load_corpus
from ser_nsl.errors import InputError

FILES = {
    f"Actor_0{actor}/{take}.wav": random.Random(10 * actor + take).randbytes(50_000)
    for actor in (1, 2)
    for take in (1, 2, 3)
}
OF_THE_BODY = object()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.body` as the attributes of the server say."""

    def do_GET(self):
        host = self.server
        requested = self.headers.get("Range")
        host.requested.append(requested)
        start = int(requested[len("bytes=") : -1]) if requested and host.knows_ranges else 0
        if host.status != 200:
            return self.send_error(host.status)
        if start and start >= len(host.body):
            return self.send_error(416)
        rest = host.body[start:]
        sent = rest[: host.cut_after]
        host.sent.append(len(sent))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(sent)
        host.may_hang_up.wait(timeout=30)

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def one_server():
    host = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.may_hang_up = threading.Event()
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    host.shutdown()
    host.server_close()
    thread.join()
    gc.collect()  # an unclosed socket warns here, not in another module


@pytest.fixture
def server(one_server):
    one_server.body, one_server.status = zipped(FILES), 200
    one_server.knows_ranges, one_server.cut_after = True, None
    one_server.requested, one_server.sent = [], []
    one_server.may_hang_up.set()
    yield one_server
    one_server.may_hang_up.set()


def zipped(files: dict) -> bytes:
    """Zips contents by name or by `ZipInfo`."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def described(tmp_path_factory):
    """Returns a function that describes a corpus with an archive, and returns the YAML file."""

    def describe(server, checksum: object = OF_THE_BODY, url: str | None = None) -> str:
        if checksum is OF_THE_BODY:
            checksum = "md5:" + hashlib.md5(server.body).hexdigest()
        settings = {
            "title": "Mine",
            "pattern": r"(?P<emotion>\w+)",
            "labels": {"a": "anger"},
            "example": "a.wav",
            "licence": "CC BY 4.0",
            "source": "https://example.org/mine",
            "download": {
                "url": url or f"http://127.0.0.1:{server.server_port}/speech.zip?download=1",
                "megabytes": 1,
                "citation": "Me 2020",
                "checksum": checksum,
            },
        }
        path = tmp_path_factory.mktemp("described") / "mine.yaml"
        path.write_text(yaml.safe_dump(settings))
        return str(path)

    return describe


def refused(corpus: str, out: Path) -> str:
    """Returns the message with which a download ends; it leaves no corpus folder."""
    with pytest.raises(InputError) as caught:
        download_corpus(corpus, out=out)
    assert not (out / "mine").exists()
    return str(caught.value)


def assert_complete(result, out: Path):
    assert result.folder == out / "mine"
    assert result.files == len(FILES)
    for name, content in FILES.items():
        assert (result.folder / name).read_bytes() == content
    assert [path.name for path in out.iterdir()] == ["mine"]


def files_left(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.parametrize("published", [True, False])
def test_corpus_arrives_whole_and_is_not_requested_again(server, described, tmp_path, published):
    corpus = described(server) if published else described(server, None)
    out = tmp_path / "new" / "corpora"

    result = download_corpus(corpus, out=out)

    assert_complete(result, out)
    assert result.downloaded
    assert result.sha256 == hashlib.sha256(server.body).hexdigest()
    record = json.loads((result.folder / "source.json").read_text())
    assert (record["files"], record["sha256"]) == (len(FILES), result.sha256)
    assert (record["checksum"] is not None) == published
    assert download_corpus(corpus, out=out) == replace(result, downloaded=False)
    assert len(server.requested) == 1


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_interrupted_transfer_resumes_or_starts_again(server, described, tmp_path, knows_ranges):
    corpus = described(server)
    server.knows_ranges, server.cut_after = knows_ranges, 200_000

    message = refused(corpus, tmp_path)

    (part,) = files_left(tmp_path)
    kept = part.stat().st_size
    assert 100_000 < kept <= 200_000
    assert f"{kept:,} bytes" in message
    server.cut_after = None
    assert_complete(download_corpus(corpus, out=tmp_path), tmp_path)
    assert server.requested == [None, f"bytes={kept}-"]
    assert server.sent[1] == len(server.body) - (kept if knows_ranges else 0)


def test_part_longer_than_the_file_is_thrown_away(server, described, tmp_path):
    body = server.body
    server.body = random.Random(0).randbytes(2 * len(body))
    server.cut_after = len(body) + 100_000
    refused(described(server), tmp_path)

    server.body, server.cut_after = body, None

    assert_complete(download_corpus(described(server), out=tmp_path), tmp_path)
    assert server.requested[1].startswith("bytes=") and server.requested[2] is None


@pytest.mark.parametrize("published", [True, False])
def test_mixture_of_two_versions_is_refused_and_replaced(server, described, tmp_path, published):
    new = server.body
    server.body = zipped({name: content[::-1] for name, content in FILES.items()})
    server.cut_after = 200_000
    refused(described(server, None), tmp_path)
    server.body, server.cut_after = new, None
    corpus = described(server) if published else described(server, None)

    refused(corpus, tmp_path)

    assert files_left(tmp_path) == []
    assert_complete(download_corpus(corpus, out=tmp_path), tmp_path)


def test_wrong_checksum_names_both_and_keeps_nothing(server, described, tmp_path):
    message = refused(described(server, "md5:" + 32 * "0"), tmp_path)

    assert 32 * "0" in message and hashlib.md5(server.body).hexdigest() in message
    assert files_left(tmp_path) == []


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def damage(body: bytes) -> bytes:
    return body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]


BAD_ARCHIVES = {
    "parent": lambda body: zipped(FILES | {"Actor_01/../../evil": b"evil"}),
    "root": lambda body: zipped(FILES | {"/evil": b"evil"}),
    "backslash": lambda body: zipped(FILES | {"..\\evil": b"evil"}),
    "drive": lambda body: zipped(FILES | {"C:evil": b"evil"}),
    "link": lambda body: zipped(FILES | {link("evil"): "/etc"}),
    "bomb": lambda body: zipped({"zeros.wav": bytes(10_000_000)}),
    "damaged": damage,
    "no zip": lambda body: b"<html>Please log in</html>",
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_bad_archive_is_refused_before_anything_is_written(server, described, tmp_path, kind):
    sound = server.body
    server.body = BAD_ARCHIVES[kind](sound)
    out = tmp_path / "deep" / "down"

    message = refused(described(server, None), out)

    assert "evil" in message or kind not in ("parent", "root", "backslash", "drive", "link")
    assert "10,000,000 bytes" in message or kind != "bomb"
    assert files_left(tmp_path) == []
    server.body = sound
    assert_complete(download_corpus(described(server, None), out=out), out)


def test_small_disk_is_named_and_the_archive_kept(server, described, tmp_path, monkeypatch):
    corpus = described(server)
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(free=123_456))
        message = refused(corpus, tmp_path)

    assert "300,000 bytes" in message and "123,456 free" in message
    assert_complete(download_corpus(corpus, out=tmp_path), tmp_path)
    assert server.requested == [None]


def test_licence_comes_before_the_network(described, tmp_path, capsys):
    with socket.socket() as closed:  # bound but not listening: nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/speech.zip"
        message = refused(described(None, None, url), tmp_path)

    printed = capsys.readouterr().out
    assert url in message and "ConnectionError" in message
    assert all(text in printed for text in (url, "CC BY 4.0", "example.org/mine", "Me 2020"))


def test_error_of_the_server_is_named(server, described, tmp_path):
    server.status = 503

    assert "503" in refused(described(server), tmp_path)


def test_what_is_not_ours_is_left_alone(server, described, tmp_path):
    mine = tmp_path / "mine" / "mine.wav"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")

    with pytest.raises(InputError, match=r"mine exists but has no source\.json"):
        download_corpus(described(server), out=tmp_path)
    with pytest.raises(InputError, match=r"mine\.wav: cannot be written"):
        download_corpus(described(server), out=mine)
    assert mine.read_bytes() == b"mine" and server.requested == []


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff"])
def test_damaged_record_of_a_corpus_is_named(text, server, described, tmp_path):
    record = tmp_path / "mine" / "source.json"
    record.parent.mkdir()
    record.write_bytes(text)

    with pytest.raises(InputError, match=r"source\.json: is damaged"):
        download_corpus(described(server), out=tmp_path)
    assert record.read_bytes() == text and server.requested == []


def test_run_killed_in_the_transfer_resumes(server, described, tmp_path):
    corpus = described(server)
    server.cut_after = 200_000
    server.may_hang_up.clear()
    program = (
        "from pathlib import Path; from ser_nsl.corpora import download_corpus; "
        f"download_corpus({corpus!r}, out=Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        while sum(path.stat().st_size for path in files_left(tmp_path)) < 100_000:
            assert process.poll() is None
        process.kill()
    server.may_hang_up.set()
    server.cut_after = None

    assert not (tmp_path / "mine").exists()
    assert_complete(download_corpus(corpus, out=tmp_path), tmp_path)
    assert server.requested[1].startswith("bytes=") and server.sent[1] < len(server.body)


def test_run_killed_in_unpacking_leaves_no_half_corpus(server, described, tmp_path, monkeypatch):
    def extract_one(self, folder):
        self.extract(self.infolist()[0], folder / "stray")
        raise KeyboardInterrupt

    corpus = described(server)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", extract_one)
        with pytest.raises(KeyboardInterrupt):
            download_corpus(corpus, out=tmp_path)

    assert not (tmp_path / "mine").exists()
    result = download_corpus(corpus, out=tmp_path)
    assert_complete(result, tmp_path)
    assert not (result.folder / "stray").exists()
    assert server.requested == [None]


def test_other_corpora_say_where_to_get_them(tmp_path):
    free = [name for name in known_corpora() if load_corpus(name).download is not None]

    assert free == ["emodb", "ravdess"]
    assert load_corpus("ravdess").download.checksum == "md5:bc696df654c87fed845eb13823edef8a"
    with pytest.raises(InputError, match=r"DEMoS .*records/2544829"):
        download_corpus("demos", out=tmp_path)
