"""The JavaScript packages of the page, which npm installs once."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from ser_nsl.errors import InputError

WEB = Path(__file__).parent
"""Folder of the page, with npm's `package.json` and `package-lock.json`."""


def is_installed(packages: Path) -> bool:
    """Returns whether a folder `node_modules` holds the versions of the lock file."""
    installed = packages / ".package-lock.json"
    return installed.is_file() and _checksums(installed) == _checksums(WEB / "package-lock.json")


def _checksums(lock: Path) -> dict[str, str]:
    entries = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    return {name: entry["integrity"] for name, entry in entries.items() if name}


def install_packages() -> Path:
    """Installs the packages, unless they are there in the versions of the lock file.

    Returns:
        The folder `node_modules`. It is beside the page, or in the user's cache folder where the
        page's folder cannot be written, as in the site-packages of a system.

    Raises:
        InputError: If npm is not installed, or cannot reach its registry.
    """
    folder = WEB
    if not is_installed(WEB / "node_modules") and not os.access(WEB, os.W_OK):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "ser_nsl" / "web"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB / name, folder)
    packages = folder / "node_modules"
    if is_installed(packages):
        return packages
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "npm is not installed; the page needs it once, to install LiteRT.js. Install Node.js "
            "18 or newer, which includes npm, and run again."
        )
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), "")
        raise InputError(
            f"{folder}: npm cannot install LiteRT.js ({reason.strip()}); check the network and run "
            "again."
        )
    return packages
