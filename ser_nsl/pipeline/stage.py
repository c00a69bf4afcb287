"""What all stages share: outputs that appear whole or not at all, and `stage.json` beside them.

A stage is a function that reads some input paths and writes its result at `out`. The `stage`
decorator passes it a temporary path in place of `out`, renames this when the function has
returned, and records what was done: settings, hashes of inputs and code, versions, files made,
counts, seconds. It replaces only what the same stage has made. A stage that can resume gets the
temporary folder of its killed or failed run again, as long as settings, inputs and code are still
the same.
"""

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, cast, get_args

from ser_nsl.errors import InputError, check_seed
from ser_nsl.pipeline.fingerprint import agrees, take_fingerprint
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.output import check_apart, check_replaceable, limits_named, writable
from ser_nsl.pipeline.places import RemotePath, place
from ser_nsl.pipeline.record import file_sizes, read_record, versions
from ser_nsl.pipeline.swap import restore_folder
from ser_nsl.pipeline.unfinished import holds_work, make_partial, publish, remove


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes:
        name: Name of the stage, e.g. `extract_features`.
        out: Path of the result.
        counts: Numbers of what was read, written and dropped.
        seconds: Wall time in seconds.
        replaced: Whether an earlier result lay at `out`.

    Example:
        >>> print(StageResult("shout", Path("loud.txt"), {"letters": 5, "dropped": []}, 0.04))
        shout: letters 5 (0.0 s)
          -> loud.txt
    """

    name: str
    out: Path
    counts: dict[str, Any]
    seconds: float
    replaced: bool = False

    @property
    def summary(self) -> str:
        """The counts and the time in one line, then a line for each thing that was dropped."""
        shown = (
            f"{key.replace('_', ' ')} {_brief(value)}"
            for key, value in self.counts.items()
            if value != []
        )
        dropped = "".join(f"\n    dropped: {each}" for each in self.counts.get("dropped", []))
        return f"{', '.join(shown)} ({self.seconds:.1f} s){dropped}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Prints the same in a notebook as in a script."""
        printer.text(str(self))

    def __str__(self) -> str:
        where = f"replaces {self.out}" if self.replaced else f"-> {self.out}"
        return f"{self.name}: {self.summary}\n  {where}"


def _brief(value: Any) -> str:
    """A count as people read it, the length of a list."""
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key}: {each}" for key, each in value.items()) + ")"
    return str(value)


Parameters = ParamSpec("Parameters")


class Stage(Protocol[Parameters]):
    """A function that `stage` has decorated, with the same parameters.

    Attributes:
        inputs: Names of the parameters that are input paths.
    """

    __name__: str
    inputs: tuple[str, ...]

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> StageResult:
        """Runs the stage."""


def stage(
    *,
    inputs: tuple[str, ...],
    makes: Literal["file", "folder"],
    resumes: bool = False,
    remote: tuple[str, ...] = (),
) -> Callable[[Callable[Parameters, Mapping[str, Any]]], Stage[Parameters]]:
    """Turns a function that writes `out` and returns a mapping of counts into a stage.

    Args:
        inputs: Names of the parameters that are input paths: a `Path`, a `str` that is either a
            path or the name of something elsewhere, such as a model of a hub, a tuple of these, or
            None.
        makes: Whether `out` becomes a file (its record is `<name>.stage.json` beside it) or a
            folder (its record is `stage.json` inside).
        resumes: Whether the function, which then makes a folder, goes on from what it finds in
            `out`. What it had written there when it failed or was killed is kept for the next call
            with the same `out`, settings, input hashes, code and version of this package; any other
            call prints what differs and gets an empty folder. Only files that were written and
            renamed are whole. The function removes what does not belong to the result before it
            returns.
        remote: Names of the inputs that may be addresses of other file systems, such as
            `s3://bucket/features`; they count as the same while names, sizes and times of their
            files are.

    Returns:
        A decorator. The decorated function returns a `StageResult` and raises `InputError` if
        an input is missing, a seed is below 0 or above 2^32 - 1, if `out` cannot be written or
        another process is writing it, or if `out` is or holds an input, the working folder, or
        anything that this stage has not made.
    """

    def decorate(function: Callable[Parameters, Mapping[str, Any]]) -> Stage[Parameters]:
        @functools.wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> StageResult:
            bound = _bind(function, *args, **kwargs)
            _check_local(bound.arguments, inputs, remote)
            _check_seeds(bound.arguments)
            out = Path(bound.arguments["out"])
            with limits_named(out), ExitStack() as held:
                with writable(out):
                    here = out.resolve()  # gives `.` a name, and leaves a link where it is
                check_apart(here, bound.arguments, inputs)
                with writable(out):
                    held.enter_context(locked(here))
                    restore_folder(here)
                    check_replaceable(here, function.__name__, makes)
                fingerprint = take_fingerprint(function, bound.arguments, inputs)
                with writable(out):
                    partial = make_partial(here, makes, fingerprint if resumes else None)
                bound.arguments["out"] = partial
                replaces = here.is_file() or (here / "stage.json").exists()
                start = time.monotonic()
                try:
                    counts = dict(function(*bound.args, **bound.kwargs))
                    seconds = round(time.monotonic() - start, 3)
                    record = fingerprint | {
                        "paths": _absolute_paths(bound.arguments, inputs),
                        "files": (
                            file_sizes(partial)
                            if makes == "folder"
                            else {here.name: partial.stat().st_size}
                        ),
                        "versions": versions(),
                        "counts": counts,
                        "seconds": seconds,
                    }
                    publish(partial, here, record, makes)
                finally:
                    if not (resumes and holds_work(partial)):
                        remove(partial)
            return StageResult(function.__name__, out, counts, seconds, replaces)

        decorated = cast(Stage[Parameters], run)
        decorated.inputs = inputs
        return decorated

    return decorate


def is_current(function: Stage, arguments: Mapping[str, Any]) -> bool:
    """Returns whether the stage has already run with these settings and inputs.

    Args:
        function: A stage.
        arguments: Its keyword arguments.

    Returns:
        True if `out` exists and its record has equal settings, version, and hashes of inputs and
        code.

    Raises:
        InputError: If an input does not exist.

    Example:
        >>> from ser_nsl.graph import build_graph
        >>> arguments = {"embeddings": "embeddings", "out": "graph.tsv"}
        >>> is_current(build_graph, arguments | {"similarity_threshold": 0.0})
        True
        >>> is_current(build_graph, arguments | {"similarity_threshold": 0.5})
        False
    """
    bound = _bind(function, **arguments)
    out = Path(bound.arguments["out"])
    record = read_record(out)
    if not out.exists() or record is None:
        return False
    return agrees(record, take_fingerprint(function, bound.arguments, function.inputs))


def _bind(function: Callable, /, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """Returns the arguments of a call by parameter, with defaults.

    Texts become paths where a parameter is a path, or a tuple of them, and no text: users write
    `out="features"` in Python, and an input that stays a text would not be recorded.
    """
    bound = inspect.signature(function, eval_str=True).bind(*args, **kwargs)
    bound.apply_defaults()
    for name, parameter in bound.signature.parameters.items():
        kinds = get_args(parameter.annotation) or (parameter.annotation,)
        value = bound.arguments[name]
        if Path not in kinds or str in kinds:
            continue
        if isinstance(value, str | Path):
            bound.arguments[name] = place(value)
        elif isinstance(value, tuple | list):
            bound.arguments[name] = tuple(map(place, value))
    return bound


def _check_local(
    arguments: Mapping[str, Any], inputs: tuple[str, ...], remote: tuple[str, ...]
) -> None:
    """Refuses addresses of other file systems where only this machine's files are read."""
    for name in {*inputs, "out"} - {*remote}:
        value = arguments[name]
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, RemotePath):
                raise InputError(
                    f"{name}: must be on a disk of this machine; received {path}. "
                    f"{'Copy the result there' if name == 'out' else 'Copy it'}."
                )


def _check_seeds(arguments: Mapping[str, Any]) -> None:
    """Refuses seeds that random generators would refuse, among the arguments or in settings."""
    check_seed("seed", arguments.get("seed"))
    for name, value in arguments.items():
        check_seed(f"{name}.seed", getattr(value, "seed", None))


def _absolute_paths(arguments: Mapping[str, Any], inputs: tuple[str, ...]) -> dict[str, Any]:
    """Where the inputs are, as it is written to the record."""
    paths: dict[str, Any] = {}
    for key in inputs:
        value = arguments[key]
        if isinstance(value, Path):
            paths[key] = str(value.absolute())
        elif isinstance(value, tuple):
            paths[key] = [str(each.absolute()) for each in value if isinstance(each, Path)]
    return paths
