"""Where results go: a local folder, as of any stage, or a folder of a remote file system."""

import functools
import inspect
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import ser_nsl
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import versions
from ser_nsl.pipeline.stage import StageResult, stage


def local_or_remote_stage(*, inputs: tuple[str, ...]) -> Callable:
    """Turns a function that fills the folder `out` and returns counts into a stage.

    A local folder appears as a whole or not at all, see `ser_nsl.pipeline.stage.stage`. Remote
    file systems cannot rename a folder in one step. There `out` must be new, and `stage.json` is
    written last: a folder without it comes from a failed run.

    Args:
        inputs: Names of the parameters whose files, if they are local, are hashed for the record.
            One machine does this, so name small inputs only.

    Returns:
        A decorator. The decorated function returns a `StageResult`.
    """

    def decorate(function: Callable[..., Mapping[str, Any]]) -> Callable[..., StageResult]:
        local = stage(inputs=inputs, makes="folder")(function)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> StageResult:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            if not is_remote(bound.arguments["out"]):
                return local(*bound.args, **bound.kwargs)
            return _run_remotely(function, bound)

        return run

    return decorate


def is_remote(path: str) -> bool:
    """Whether a path names its file system, like gs://bucket/folder."""
    return "://" in str(path)


def _run_remotely(
    function: Callable[..., Mapping[str, Any]], bound: inspect.BoundArguments
) -> StageResult:
    from apache_beam.io.filesystems import FileSystems

    out = bound.arguments["out"]
    (match,) = FileSystems.match([FileSystems.join(out, "**")], limits=[1])
    if match.metadata_list:
        raise InputError(
            f"out: {out} holds files; a remote folder cannot be replaced in one step, so choose a "
            "new one, or remove what is there."
        )
    start = time.monotonic()
    counts = dict(function(*bound.args, **bound.kwargs))
    seconds = round(time.monotonic() - start, 3)
    record = {
        "stage": function.__name__,
        "version": ser_nsl.__version__,
        "settings": dict(bound.arguments),
        "inputs": {},
        "paths": {},
        "versions": versions(),
        "counts": counts,
        "seconds": seconds,
    }
    with FileSystems.create(FileSystems.join(out, "stage.json")) as file:
        file.write(json.dumps(record, indent=2, default=vars).encode())
    return StageResult(function.__name__, out, counts, seconds)  # a Path would lose a slash
