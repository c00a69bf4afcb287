"""The inputs of a stage as hashes, so that an output is not up to date when they have changed."""

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.places import RemotePath, place


def hash_input(
    value: Path | str | tuple[Path | str, ...] | None, argument: str
) -> str | list[Any] | None:
    """Hashes an input of a stage.

    Args:
        value: A path, the name of something elsewhere, several of these, or None.
        argument: Name of the parameter, for errors.

    Returns:
        What `hash_path` returns for paths; names of things elsewhere, and None, as they are; a list
        for several.

    Raises:
        InputError: As `hash_path`.
    """
    if isinstance(value, tuple):
        return [hash_input(each, argument) for each in value]
    if value is None or (isinstance(value, str) and not Path(value).exists()):
        return value
    return hash_path(place(value), argument)


def hash_path(path: Path, argument: str) -> str:
    """Hashes a file, or the names and files of a folder that decide what is made from it.

    Args:
        path: A file or folder, here or in another file system.
        argument: Name of the parameter that holds it, for errors.

    Returns:
        Hexadecimal digits of BLAKE2. In other file systems sizes and times stand for what files
        hold.

    Raises:
        InputError: If it does not exist, cannot be read, or is a pipe or a device.
    """
    if not path.exists():
        raise InputError(
            f"{argument}: {path} does not exist; check the path or run the stage that makes it."
        )
    if isinstance(path, RemotePath):
        return _hash_remote(path)
    if path.is_file():
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(
                    file, functools.partial(hashlib.blake2b, digest_size=16)
                ).hexdigest()
        except OSError as error:
            raise InputError(
                f"{argument}: {path} cannot be read ({error.strerror}); check who may read it."
            ) from error
    if not path.is_dir():
        raise InputError(
            f"{argument}: {path} must be a file or a folder, not a pipe or a device; copy it to a "
            "file."
        )
    digest = hashlib.blake2b(digest_size=16)
    files = [file for file in sorted(path.rglob("*")) if _counts(file) and file.is_file()]
    with ThreadPoolExecutor() as pool:
        for each, inner in zip(files, pool.map(hash_path, files, repeat(argument)), strict=True):
            digest.update(os.fsencode(f"{each.relative_to(path)}\0{inner}\n"))
    return digest.hexdigest()


def _hash_remote(path: RemotePath) -> str:
    """BLAKE2 of names, sizes and times of files that would take long to read."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(filter(_counts, path.files())) if path.is_dir() else [path]:
        found = file.stat()
        digest.update(f"{file.relative_to(path)}\0{found.st_size}\0{found.st_mtime}\n".encode())
    return digest.hexdigest()


def _counts(file: Path) -> bool:
    """Whether a file decides anything: not records, locks, nor TensorBoard's logs with times."""
    if file.name == "stage.json" or file.name.endswith((".stage.json", ".lock")):
        return False
    return not file.name.startswith("events.out.tfevents.")
