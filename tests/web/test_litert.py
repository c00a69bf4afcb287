import pytest

from ser_nsl.errors import InputError
from ser_nsl.web.litert import RUNTIME, install_litert


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Returns a function that puts a shell script in npm's place."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(script: str):
        path = folder / "npm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return folder

    return write


def test_npm_is_called_once(npm, tmp_path):
    made = tmp_path / "node_modules" / RUNTIME
    called = tmp_path / "called"
    npm(f'echo "$@" >> {called}; mkdir -p {made.parent}; touch {made}')

    install_litert(tmp_path)
    install_litert(tmp_path)

    (arguments,) = called.read_text().splitlines()
    assert arguments.startswith("ci --ignore-scripts ")
    assert arguments.endswith(f"--prefix {tmp_path}")


def test_what_npm_says_of_its_failure_is_told(npm, tmp_path):
    npm("echo 'npm error network is unreachable' >&2; exit 1")

    with pytest.raises(InputError, match=r"LiteRT\.js \(npm error network is unreachable\); check"):
        install_litert(tmp_path)


def test_missing_npm_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InputError, match=r"npm is not installed, .* install Node\.js"):
        install_litert(tmp_path)
