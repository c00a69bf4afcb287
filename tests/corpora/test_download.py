"""Downloads from a server on loopback that cuts, forgets, lies and attacks."""

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
import time
import zipfile
from collections import namedtuple
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from ser_nsl.corpora.description import known_corpora, load_corpus
from ser_nsl.corpora.download import Archive, download_archive, download_corpus, find_archive
from ser_nsl.errors import InputError

FILES = {
    f"Actor_0{actor}/{take}.wav": random.Random(10 * actor + take).randbytes(50_000)
    for actor in (1, 2)
    for take in (1, 2, 3)
}


class Handler(BaseHTTPRequestHandler):
    """Serves `server.body` as the attributes of the server say."""

    def do_GET(self):
        host = self.server
        asked = self.headers.get("Range")
        host.asked.append(asked)
        start = int(asked[len("bytes=") : -1]) if asked and host.knows_ranges else 0
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


@pytest.fixture
def server():
    host = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.body, host.status, host.knows_ranges, host.cut_after = zipped(FILES), 200, True, None
    host.asked, host.sent, host.may_hang_up = [], [], threading.Event()
    host.may_hang_up.set()
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    host.may_hang_up.set()
    host.shutdown()
    host.server_close()
    thread.join()
    gc.collect()  # an unclosed socket warns here, in the test that left it


def zipped(files: dict) -> bytes:
    """Zips contents by name or by `ZipInfo`."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def archive_at(server, checksum: str | None = "of the body") -> Archive:
    if checksum == "of the body":
        checksum = "md5:" + hashlib.md5(server.body).hexdigest()
    return Archive(
        corpus="ravdess",
        url=f"http://127.0.0.1:{server.server_port}/speech.zip?download=1",
        home="https://example.org/ravdess",
        megabytes=1,
        checksum=checksum,
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone & Russo 2018",
    )


def refused(archive: Archive, out) -> str:
    """Returns the message with which a download ends; it leaves no corpus folder."""
    with pytest.raises(InputError) as caught:
        download_archive(archive, out=out)
    message = str(caught.value)
    assert "\n" not in message
    assert not (out / archive.corpus).exists()
    return message


def assert_complete(result, out):
    assert result.folder == out / "ravdess"
    assert result.files == len(FILES)
    for name, content in FILES.items():
        assert (result.folder / name).read_bytes() == content
    assert [path.name for path in out.iterdir()] == ["ravdess"]


def archives_left(out) -> list:
    return [path for path in out.rglob("*") if path.is_file()]


def test_corpus_arrives_whole_with_its_licence(server, tmp_path, capsys):
    archive = archive_at(server)
    result = download_archive(archive, out=tmp_path / "new" / "corpora")
    assert_complete(result, tmp_path / "new" / "corpora")
    assert result.downloaded
    assert result.sha256 == hashlib.sha256(server.body).hexdigest()
    record = json.loads((result.folder / "source.json").read_text())
    assert record == asdict(archive) | {"files": len(FILES), "sha256": result.sha256}
    assert archive.url in capsys.readouterr().out


def test_archive_without_published_checksum_is_taken(server, tmp_path):
    assert_complete(download_archive(archive_at(server, checksum=None), out=tmp_path), tmp_path)


def test_complete_corpus_asks_nothing_of_the_network(server, tmp_path, capsys):
    archive = archive_at(server)
    first = download_archive(archive, out=tmp_path)
    server.asked.clear()
    again = download_archive(archive, out=tmp_path)
    assert again == replace(first, downloaded=False)
    assert "already there" in capsys.readouterr().out
    assert server.asked == []


def test_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    archive = archive_at(server)
    server.cut_after = 200_000
    message = refused(archive, tmp_path)
    (part,) = archives_left(tmp_path)
    kept = part.stat().st_size
    assert 100_000 < kept <= 200_000
    assert f"{kept:,} bytes" in message and "run the same command again" in message
    server.cut_after = None
    assert_complete(download_archive(archive, out=tmp_path), tmp_path)
    assert server.asked == [None, f"bytes={kept}-"]
    assert server.sent[1] == len(server.body) - kept


def test_server_without_ranges_starts_over(server, tmp_path):
    archive = archive_at(server)
    server.knows_ranges = False
    server.cut_after = 200_000
    refused(archive, tmp_path)
    server.cut_after = None
    assert_complete(download_archive(archive, out=tmp_path), tmp_path)
    assert server.sent == [200_000, len(server.body)]


def test_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    body = server.body
    server.body = random.Random(0).randbytes(2 * len(body))
    server.cut_after = len(body) + 100_000
    refused(archive_at(server), tmp_path)
    server.body, server.cut_after = body, None
    assert_complete(download_archive(archive_at(server), out=tmp_path), tmp_path)
    assert server.asked[1].startswith("bytes=") and server.asked[2] is None


@pytest.mark.parametrize("published", [True, False])
def test_mixture_of_two_versions_is_refused_and_then_replaced(server, tmp_path, published):
    new = server.body
    server.body = zipped({name: content[::-1] for name, content in FILES.items()})
    server.cut_after = 200_000
    refused(archive_at(server, checksum=None), tmp_path)
    server.body, server.cut_after = new, None
    archive = archive_at(server) if published else archive_at(server, checksum=None)
    refused(archive, tmp_path)
    assert archives_left(tmp_path) == []
    assert_complete(download_archive(archive, out=tmp_path), tmp_path)


def test_wrong_checksum_names_both_and_keeps_nothing(server, tmp_path):
    message = refused(archive_at(server, checksum="md5:" + 32 * "0"), tmp_path)
    assert 32 * "0" in message and hashlib.md5(server.body).hexdigest() in message
    assert archives_left(tmp_path) == []


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "member",
    ["../evil", "Actor_01/../../evil", "/evil", "..\\evil", "C:evil", "\\\\host\\evil", "link"],
)
def test_hostile_member_is_refused_before_anything_is_written(server, tmp_path, member):
    hostile = {link("evil"): "/etc"} if member == "link" else {member: b"evil"}
    server.body = zipped(FILES | hostile)
    out = tmp_path / "deep" / "down"
    message = refused(archive_at(server), out)
    assert "is a link or leaves the folder" in message
    assert archives_left(tmp_path) == []


def test_bomb_is_refused(server, tmp_path):
    server.body = zipped({"zeros.wav": bytes(10_000_000)})
    message = refused(archive_at(server, checksum=None), tmp_path)
    assert "10,000,000 bytes" in message and f"{len(server.body):,}" in message
    assert archives_left(tmp_path) == []


def test_small_disk_is_named_and_the_archive_kept(server, tmp_path, monkeypatch):
    archive = archive_at(server)
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(free=123_456))
        message = refused(archive, tmp_path)
    assert "300,000 bytes" in message and "123,456 free" in message
    server.asked.clear()
    assert_complete(download_archive(archive, out=tmp_path), tmp_path)
    assert server.asked == []


def damage(body: bytes) -> bytes:
    return body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]


@pytest.mark.parametrize("spoil", [damage, lambda body: b"<html>Please log in</html>"])
def test_damage_is_found_without_a_published_checksum(server, tmp_path, spoil):
    sound, server.body = server.body, spoil(server.body)
    message = refused(archive_at(server, checksum=None), tmp_path)
    assert "Nothing was unpacked" in message
    assert archives_left(tmp_path) == []
    server.body = sound
    assert_complete(download_archive(archive_at(server, None), out=tmp_path), tmp_path)


def test_licence_comes_before_the_network(tmp_path, capsys):
    with socket.socket() as closed:  # bound but not listening: nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/speech.zip"
        message = refused(replace(find_archive("ravdess"), url=url), tmp_path)
    assert url in message and "cannot be reached" in message and "Check the network" in message
    printed = capsys.readouterr().out
    assert url in printed and "CC BY-NC-SA 4.0" in printed and "Livingstone" in printed


def test_error_of_the_server_is_named(server, tmp_path):
    server.status = 503
    message = refused(archive_at(server), tmp_path)
    assert "503" in message and "https://example.org/ravdess" in message


def test_folder_of_somebody_else_is_left_alone(server, tmp_path):
    mine = tmp_path / "ravdess" / "mine.wav"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match="did not make it"):
        download_archive(archive_at(server), out=tmp_path)
    assert mine.read_bytes() == b"mine" and server.asked == []


def test_out_that_is_a_file_is_an_input_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        download_archive(archive_at(server), out=tmp_path / "file")


def test_run_killed_in_the_transfer_goes_on(server, tmp_path):
    archive = archive_at(server)
    server.cut_after = 200_000
    server.may_hang_up.clear()
    program = (
        "import pathlib; from ser_nsl.corpora.download import Archive, download_archive; "
        f"download_archive(Archive(**{asdict(archive)}), out=pathlib.Path({str(tmp_path)!r}))"
    )
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", program], **silent) as process:
        patience = time.monotonic() + 30
        while sum(path.stat().st_size for path in archives_left(tmp_path)) < 100_000:
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.01)
        process.kill()
    server.may_hang_up.set()
    server.cut_after = None
    assert not (tmp_path / "ravdess").exists()
    assert_complete(download_archive(archive, out=tmp_path), tmp_path)
    assert server.asked[1].startswith("bytes=") and server.sent[1] < len(server.body)


def test_run_killed_in_unpacking_leaves_no_half_corpus(server, tmp_path, monkeypatch):
    def extract_one(self, folder):
        self.extract(self.infolist()[0], folder)
        self.extract(self.infolist()[1], folder / "stray")
        raise KeyboardInterrupt

    archive = archive_at(server)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", extract_one)
        with pytest.raises(KeyboardInterrupt):
            download_archive(archive, out=tmp_path)
    assert not (tmp_path / "ravdess").exists()
    result = download_archive(archive, out=tmp_path)
    assert_complete(result, tmp_path)
    assert not (result.folder / "stray").exists()
    assert server.asked == [None]


@pytest.mark.parametrize(
    ("corpus", "place"), [("emovo", "Fondazione Ugo Bordoni"), ("demos", "records/2544829")]
)
def test_corpora_on_request_say_where_to_ask(corpus, place, tmp_path):
    with pytest.raises(InputError, match=place):
        download_corpus(corpus, out=tmp_path)


def test_archives_of_known_corpora_are_complete():
    free = [name for name in known_corpora() if load_corpus(name).download is not None]

    assert free == ["emodb", "ravdess"]
    assert find_archive("ravdess").checksum == "md5:bc696df654c87fed845eb13823edef8a"
    assert find_archive("emodb").licence.startswith("free to use")
