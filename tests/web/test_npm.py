import os
import shutil

import pytest

from ser_nsl.errors import InputError
from ser_nsl.web import npm
from ser_nsl.web.npm import WEB, install_packages, is_installed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The package's folder of the page, as pip leaves it."""
    folder = tmp_path / "web"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, folder)
    monkeypatch.setattr(npm, "WEB", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def fake_npm(monkeypatch, tmp_path):
    """Returns a function that puts a shell script in the place of npm."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def write(script: str) -> None:
        path = programs / "npm"
        path.write_text(f"#!/bin/sh\nfor folder; do :; done  # the last argument\n{script}\n")
        path.chmod(0o755)

    return write


@pytest.fixture
def calls(fake_npm, tmp_path):
    """The arguments of each call of an npm that works."""
    calls = tmp_path / "calls"
    calls.touch()
    fake_npm(
        f'echo "$@" >> {calls}; mkdir -p $folder/node_modules\n'
        "cp $folder/package-lock.json $folder/node_modules/.package-lock.json"
    )
    return lambda: calls.read_text().splitlines()


def test_npm_is_called_when_packages_are_missing_or_of_other_versions(folder, calls):
    assert install_packages() == install_packages() == folder / "node_modules"
    (arguments,) = calls()
    assert arguments.startswith("ci --ignore-scripts ")
    assert arguments.endswith(f"--prefix {folder}")

    installed = folder / "node_modules" / ".package-lock.json"
    installed.write_text(installed.read_text().replace("sha512-", "sha512-0"))
    assert not is_installed(folder / "node_modules")
    install_packages()
    assert len(calls()) == 2


def test_the_cache_is_used_where_the_package_cannot_be_written(
    folder, calls, tmp_path, monkeypatch
):
    monkeypatch.setattr(npm.os, "access", lambda path, mode: mode != os.W_OK)

    assert install_packages() == install_packages() == tmp_path / "cache/ser_nsl/web/node_modules"
    assert len(calls()) == 1
    assert not (folder / "node_modules").exists()

    shutil.copytree(tmp_path / "cache/ser_nsl/web/node_modules", folder / "node_modules")
    assert install_packages() == folder / "node_modules"


def test_the_reason_of_npm_is_shown(folder, fake_npm):
    fake_npm("echo 'npm error network is unreachable' >&2; exit 1")

    with pytest.raises(InputError, match=r"web: .*\(npm error network is unreachable\); check"):
        install_packages()


def test_missing_npm_is_named(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InputError, match=r"npm is not installed.* Install Node\.js"):
        install_packages()
