import re
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import reset_sessions
from huggingface_hub.utils.logging import get_logger, get_verbosity

from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.hub import checkpoint_folder

GROUP = Path(__file__).parent / "fixtures" / "group"
LAYER = Path(__file__).parent / "fixtures" / "layer"
COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network beyond this machine."""
    look_up = socket.getaddrinfo

    def look_up_here(host, *rest, **options):
        if host != "127.0.0.1":
            pytest.fail(f"reached for {host}")
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def cached(cache) -> Path:
    """A cache that holds two commits of some/speech: one branch, one tag."""
    root = cache / "models--some--speech"
    (root / "refs").mkdir(parents=True)
    for ref, commit, source in (("main", COMMIT, GROUP), ("v2", OTHER_COMMIT, LAYER)):
        (root / "refs" / ref).write_text(commit)
        shutil.copytree(source, root / "snapshots" / commit)
    return root / "snapshots" / COMMIT


def test_names_and_revisions_lead_to_their_commits(cached):
    for upstream, commit in (
        ("some/speech", COMMIT),
        ("some/speech@main", COMMIT),
        ("some/speech@v2", OTHER_COMMIT),
        (f"some/speech@{OTHER_COMMIT}", OTHER_COMMIT),
    ):
        assert checkpoint_folder(upstream) == cached.with_name(commit)


def test_model_is_that_of_the_revision(cached):
    main, v2 = (load_upstream(name).encoder for name in ("some/speech", "some/speech@v2"))

    assert main.body.config.feat_extract_norm == "group"
    assert v2.body.config.feat_extract_norm == "layer"


def test_folders_are_folders_whatever_their_name(tmp_path, cached):
    for name in ("plain", "some@home", "some/speech"):
        shutil.copytree(GROUP, tmp_path / name)
        assert checkpoint_folder(name) == Path(name)
        assert checkpoint_folder(str(tmp_path / name)) == tmp_path / name


def test_folder_has_no_revisions(tmp_path):
    shutil.copytree(GROUP, tmp_path / "plain")

    for name in ("plain", "./plain", str(tmp_path / "plain")):
        with pytest.raises(InputError, match=f"upstream: {name} is a folder"):
            checkpoint_folder(f"{name}@main")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "../nowhere@main"])
def test_missing_folder_is_refused(name):
    with pytest.raises(InputError, match=f"upstream: {name} "):
        checkpoint_folder(name)


def test_misspelt_folder_is_refused_at_once_with_the_nearest(tmp_path, cached, monkeypatch):
    monkeypatch.setattr("ser_nsl.upstream.hub.hf_hub_download", None)  # is not asked
    for name in ("plain", "mini-ravdess"):
        (tmp_path / "some" / name).mkdir(parents=True)

    for name, nearest in (
        ("some/mini-ravdes", "some/mini-ravdess"),
        ("./some/mini-ravdes", "some/mini-ravdess"),
        (f"{tmp_path}/some/mini_ravdess", f"{tmp_path}/some/mini-ravdess"),
    ):
        with pytest.raises(InputError, match=rf"upstream: {name} .*nearest: {nearest}\)"):
            checkpoint_folder(name)
    with pytest.raises(InputError, match=r"upstream: some/xyz .*@main"):
        checkpoint_folder("some/xyz")


def test_name_of_the_hub_is_found_beside_a_folder_of_its_owner(tmp_path, cached):
    (tmp_path / "some").mkdir()

    assert checkpoint_folder("some/speech@main") == cached


def test_retries_of_the_hub_are_not_printed(capfd, monkeypatch):
    def fail(*_, **__):
        get_logger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no network")

    monkeypatch.setattr("ser_nsl.upstream.hub.hf_hub_download", fail)
    verbosity = get_verbosity()

    with pytest.raises(InputError, match="some/speech.*no network"):
        checkpoint_folder("some/speech")
    assert "Retrying" not in capfd.readouterr().err
    assert get_verbosity() == verbosity


def test_name_that_cannot_be_reached_is_refused_with_the_line_that_helps():
    message = (
        r"'some/speech@v2' .*config\.json .*run: hf download some/speech --revision v2 --local-dir "
        r"FOLDER, .*that folder"
    )
    with pytest.raises(InputError, match=message):
        checkpoint_folder("some/speech@v2")


@pytest.mark.parametrize("name", ["runs/upstream/random", "two words", "some/speech/@main"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match=f"'{name}' .*owner/name"):
        checkpoint_folder(name)


def test_revision_that_is_not_cached_is_refused(cached):
    with pytest.raises(InputError, match="'some/speech@v3' .*config.json"):
        checkpoint_folder("some/speech@v3")


def test_revision_must_follow_the_at(cached):
    with pytest.raises(InputError, match="@; received 'some/speech@'"):
        checkpoint_folder("some/speech@")


@pytest.mark.parametrize("file", ["preprocessor_config.json", "model.safetensors"])
def test_half_a_checkpoint_in_the_cache_is_refused(file, cached):
    (cached / file).unlink()

    with pytest.raises(InputError, match=f"'some/speech' .*{file}"):
        checkpoint_folder("some/speech")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A hub on this machine: `some/speech`, whose `main` is the returned folder."""
    folder = shutil.copytree(GROUP, tmp_path / "served")

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # noqa: N802
            self.answer()

        def do_GET(self) -> None:  # noqa: N802
            self.wfile.write(self.answer())

        def answer(self) -> bytes:
            name, _, rest = self.path.removeprefix("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            error = None
            if name != "some/speech":
                error = "RepoNotFound"
            elif revision not in ("main", COMMIT):
                error = "RevisionNotFound"
            elif not (folder / file).is_file():
                error = "EntryNotFound"
            content = b"" if error else (folder / file).read_bytes()
            self.send_response(404 if error else 200)
            if error:
                self.send_header("X-Error-Code", error)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{file}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def log_message(self, *_) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        reset_sessions()  # they remember whether they were made offline
        yield folder
        reset_sessions()
        server.shutdown()
        thread.join()


def test_checkpoint_is_downloaded_then_found_offline(hub, cache, monkeypatch):
    (hub / "tf_model.h5").write_bytes(b"not needed beside safetensors")

    folder = checkpoint_folder("some/speech")

    assert cache in folder.parents
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    }
    for path in folder.iterdir():
        assert path.read_bytes() == (hub / path.name).read_bytes()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert checkpoint_folder("some/speech") == folder


def test_other_weights_are_taken_where_there_are_no_safetensors(hub):
    (hub / "model.safetensors").rename(hub / "tf_model.h5")
    (hub / "preprocessor_config.json").unlink()

    folder = checkpoint_folder("some/speech@main")

    assert {path.name for path in folder.iterdir()} == {"config.json", "tf_model.h5"}


def test_pickle_is_not_downloaded_without_pytorch(hub, cache, monkeypatch):
    (hub / "model.safetensors").rename(hub / "pytorch_model.bin")
    monkeypatch.setattr("ser_nsl.upstream.weights.metadata.version", lambda _: "2.5.0")

    with pytest.raises(InputError, match=re.escape("pip install 'ser-nsl[torch]'")):
        checkpoint_folder("some/speech")
    assert not list(cache.rglob("pytorch_model.bin"))


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        ("nobody/speech", "'nobody/speech' .*login"),
        ("some/speech@v9", "'some/speech@v9' has no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_know_is_refused(upstream, message, hub):
    with pytest.raises(InputError, match=message):
        checkpoint_folder(upstream)


def test_repository_without_config_is_refused(hub):
    (hub / "config.json").unlink()

    with pytest.raises(InputError, match=r"'some/speech' .*config\.json"):
        checkpoint_folder("some/speech")
