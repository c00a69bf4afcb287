"""Where a stage may put its result: apart from its inputs, in the place only of its own work."""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError, limit_reached, refuse
from ser_nsl.pipeline.fingerprint import files_within
from ser_nsl.pipeline.places import RemotePath
from ser_nsl.pipeline.record import file_sizes, parse, read_record, record_beside


def check_apart(place: Path, arguments: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
    """Refuses to put a result where the stage or the user still needs what is there.

    Args:
        place: Where the result would go, links followed.
        arguments: All arguments of the stage, by name.
        inputs: Names of those that are input paths.

    Raises:
        InputError: If the place is or holds an input, a file that settings name, or the working
            folder.
    """
    here = Path.cwd()
    if place in (here, *here.parents):
        raise InputError(
            f"out: {arguments['out']} is or holds the working folder, {here}; name a folder or "
            "file in it."
        )
    settings = {key: value for key, value in arguments.items() if key not in (*inputs, "out")}
    sources = list(files_within(settings))
    for name in inputs:
        value = arguments[name]
        several = value if isinstance(value, tuple) else (value,)
        sources += [
            (name, Path(each))
            for each in several
            if each and not isinstance(each, RemotePath) and Path(each).exists()
        ]
    for name, path in sources:
        source = path.resolve()
        if place in (source, *source.parents):
            raise InputError(
                f"out: {arguments['out']} is or holds the input {name}, {path}, so it is not "
                "replaced; choose another name."
            )


def check_replaceable(out: Path, name: str, makes: str) -> None:
    """Refuses to put a result in the place of something that the stage has not made.

    Args:
        out: Where the result would go; what lies there, if anything.
        name: Name of the stage.
        makes: `file` or `folder`.

    Raises:
        InputError: If something there is of another kind, of another stage or of none, or a folder
            holds more than the stage has left there. Empty files and folders may be replaced.
    """
    if makes == "folder" and out.exists() and not out.is_dir():
        raise InputError(f"out: {out} is a file, a folder is made here; choose another name.")
    if makes == "file" and out.is_dir():
        raise InputError(f"out: {out} is a folder, a file is made here; add a file name.")
    if out.exists() and not (out.is_dir() or out.is_file()):
        raise InputError(f"out: {out} is a pipe or a device; choose another name.")
    record = out / "stage.json" if makes == "folder" else record_beside(out)
    if record.exists():
        maker = _maker(record.read_bytes(), name)
    elif not out.exists() or not (any(out.iterdir()) if out.is_dir() else out.stat().st_size):
        return
    else:
        maker = None
    if maker != name:
        made = f"was made by {maker}, not by {name}" if maker else "is of no stage"
        raise InputError(
            f"out: {out} {made}, so it is not replaced; choose another name, or move it away."
        )
    files = (read_record(out) or {}).get("files")
    if makes == "folder" and files is not None:
        rule = f"out: {out} holds files that {name} has not made, so it is not replaced"
        refuse(sorted(file_sizes(out).keys() - files), rule, "Move them, or choose another folder.")


def _maker(record: bytes, name: str) -> str | None:
    """The stage that a record names; `name` where the record is too damaged to name any."""
    known = parse(record)
    if known is not None:
        return known.get("stage") if isinstance(known, dict) else None
    named = re.match(rb'\s*\{\s*"stage":\s*"(\w+)"', record)
    return named[1].decode() if named else name


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Turns errors of the system into one that names the output.

    Args:
        out: The output, as the user wrote it.

    Raises:
        InputError: In the place of `OSError` and `RuntimeError`.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"out: {out} cannot be written ({reason}); choose a folder you may write to."
        ) from error


@contextmanager
def limits_named(out: Path) -> Iterator[None]:
    """Turns errors from limits of the disk or the system into one that says which.

    Args:
        out: The output, as the user wrote it.

    Raises:
        InputError: In the place of what `limit_reached` knows.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        limit = limit_reached(error)
        if not limit:
            raise
        too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        name = getattr(error, "filename", out) if too_long else out
        raise InputError(f"{name}: {limit}.") from error
