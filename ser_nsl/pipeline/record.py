"""The record of a stage: `stage.json` in the folder that it made, or beside its file."""

import functools
import json
import platform
from collections.abc import Iterator
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.hashes import hash_path
from ser_nsl.pipeline.places import place

_RECORDED_PACKAGES = (
    "numpy",
    "soundfile",
    "soxr",
    "tensorflow",
    "transformers",
    "neural-structured-learning",
)


def read_record(out: Path) -> dict[str, Any] | None:
    """Reads the record beside a stage's output.

    Args:
        out: What the stage made.

    Returns:
        Its record with keys `stage`, `version` (of this package), `code` (hash), `settings`,
        `inputs` (hashes), `paths` (of the inputs, lists where there are several), `files` (bytes of
        each file made), `versions`, `counts` and `seconds`; None where there is none or it
        is damaged.

    Example:
        >>> record = read_record(Path("graph.tsv"))
        >>> record["stage"], record["settings"]["similarity_threshold"]
        ('build_graph', 0.0)
    """
    out = place(out).resolve()
    for path in (out / "stage.json", record_beside(out)):
        if path.is_file():
            return _whole(parse(path.read_bytes()))
    return None


def require_record(out: Path) -> dict[str, Any]:
    """Reads the record beside a stage's output, which must be there.

    Args:
        out: What the stage made.

    Returns:
        What `read_record` gives.

    Raises:
        InputError: If there is none.
    """
    record = read_record(out)
    if record is None:
        raise InputError(f"{out}: the record of its stage is missing; make it again.")
    return record


def record_beside(out: Path) -> Path:
    """Returns the path of the record of an output that is a file."""
    return out.with_name(f"{out.name}.stage.json")


def parse(text: bytes) -> Any:
    """Returns what JSON says; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _whole(record: Any) -> dict[str, Any] | None:
    """A record with every table that one has, empty where it is missing; None for anything else."""
    tables = ("settings", "inputs", "paths", "files", "versions", "counts")
    if not isinstance(record, dict) or not all(
        isinstance(record.get(name, {}), dict) for name in tables
    ):
        return None
    sizes, paths, hashes = (record.get(name, {}).values() for name in ("files", "paths", "inputs"))
    fits = all(isinstance(size, int) for size in sizes)
    fits &= all(isinstance(each, str) for path in paths for each in _several(path))
    fits &= all(isinstance(each, str | None) for own in hashes for each in _several(own))
    if not fits:
        return None
    return {name: {} for name in tables if name != "files"} | record


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_whole(path: Path) -> None:
    """Refuses a stage's file, or one of its folder, that has not the size that the stage left.

    Args:
        path: The file. Where no stage has made it, or not said its size, any is right.

    Raises:
        InputError: If it was cut off, or changed in another way.
    """
    record = read_record(path.parent) or read_record(path) or {}
    made = record.get("files", {})
    size = path.stat().st_size
    if size != made.get(path.name, size):
        raise InputError(
            f"{path}: is cut off or damaged ({size:,} bytes, but {made[path.name]:,} when it was "
            "made); make it again, or give what was edited another name."
        )


def file_sizes(folder: Path) -> dict[str, int]:
    """Returns the bytes of each file of a folder, its record apart, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    sizes.pop("stage.json", None)
    return sizes


def trace(out: Path, *, hashed: bool = True) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Follows the records back from a stage's output.

    Args:
        out: What the stage made.
        hashed: Whether to hash what is followed, which takes long where there is much, and to
            refuse what was made again.

    Yields:
        This output and everything that it was made from, each path with its record, as far as
        records are still where the stages read and wrote.

    Raises:
        InputError: If `hashed`, and an output was made again after another had been made from it.

    Example:
        >>> [record["stage"] for _, record in trace(Path("graph.tsv"))]
        ['build_graph', 'extract_mfccs', 'prepare_corpus']
    """
    record = read_record(out)
    if record is not None:
        yield out, record
        for argument, paths in record["paths"].items():
            hashes = record["inputs"].get(argument)
            several = zip(paths, hashes or repeat(None), strict=False)
            for name, former in [(paths, hashes)] if isinstance(paths, str) else several:
                path = place(name)
                known = hashed and read_record(path) is not None and path.exists()
                if known and former and hash_path(path, argument) != former:
                    raise InputError(
                        f"{path}: was made again after {out} was made from it; make {out} again."
                    )
                yield from trace(path, hashed=hashed)


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
