"""LiteRT.js, which npm puts beside the page, once."""

import shutil
import subprocess
from pathlib import Path

from ser_nsl.errors import InputError

RUNTIME = Path("@litertjs", "core", "wasm", "litert_wasm_internal.wasm")
"""What a page cannot do without, below `node_modules`."""


def install_litert(folder: Path) -> None:
    """Installs LiteRT.js where it is missing, in the version of the lock file.

    Args:
        folder: Holds `package.json` and `package-lock.json`; gets `node_modules`.

    Raises:
        InputError: If npm is not installed, or cannot reach its registry.
    """
    if (folder / "node_modules" / RUNTIME).is_file():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "npm is not installed, and is needed once, to install LiteRT.js; install Node.js 18 or "
            "newer, which has it, and run again."
        )
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), "")
        raise InputError(
            f"{folder}: npm cannot install LiteRT.js ({reason.strip()}); check the network and run "
            "again."
        )
