"""One writer at a time: a lock beside an output, which names the process that holds it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ser_nsl.errors import InputError


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps other processes, and other threads, from writing an output.

    The lock is a hidden file beside the output; the system releases it when its process ends,
    however that ends.

    Args:
        out: The file or folder to be written; its parent folder is made where it is missing.

    Raises:
        InputError: If another process, or another thread of this one, writes it.

    Example:
        >>> with locked(Path("out")):
        ...     with locked(Path("out")):
        ...         pass
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: out: is being written by process ...
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        holder = path.read_text().strip() if path.exists() else ""
        raise InputError(
            f"{out}: is being written by {holder or 'another process'}; wait until it has ended, "
            "or choose another name."
        ) from error
    try:
        path.write_text(f"process {os.getpid()} on {platform.node()}\n")
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release, so that it is surely ours
        lock.release()
