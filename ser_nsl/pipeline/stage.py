"""What all stages share: outputs that appear whole or not at all, and `stage.json` beside them.

A stage is a function that reads some input paths and writes its result at `out`. The `stage`
decorator passes it a temporary path in place of `out`, renames this when the function has
returned, and records what was done: settings, hashes of inputs and code, versions, files made,
counts, seconds. It replaces only what the same stage has made. A stage that can resume gets the
temporary folder of its killed or failed run again, as long as settings, inputs and code are still
the same.
"""

import errno
import functools
import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, cast, get_args

import ser_nsl
from ser_nsl.errors import InputError, limit_reached, refuse
from ser_nsl.pipeline.code import code_hash
from ser_nsl.pipeline.lock import locked
from ser_nsl.pipeline.places import RemotePath, place
from ser_nsl.pipeline.swap import replace_folder, restore_folder

__all__ = ["StageResult", "is_current", "read_record", "stage", "trace"]

_RECORDED_PACKAGES = (
    "numpy",
    "soundfile",
    "soxr",
    "tensorflow",
    "transformers",
    "neural-structured-learning",
)


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
        an input is missing, if `out` cannot be written or another process is writing it, or if
        `out` is or holds an input, the working folder, or anything that this stage has not made.
    """

    def decorate(function: Callable[Parameters, Mapping[str, Any]]) -> Stage[Parameters]:
        @functools.wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> StageResult:
            bound = inspect.signature(function, eval_str=True).bind(*args, **kwargs)
            bound.apply_defaults()
            _make_paths(bound)
            _check_local(bound.arguments, inputs, remote)
            out = Path(bound.arguments["out"])
            with _limits_named(out), ExitStack() as held:
                with _writable(out):
                    here = out.resolve()  # gives `.` a name, and leaves a link where it is
                _check_apart(here, bound.arguments, inputs)
                with _writable(out):
                    held.enter_context(locked(here))
                    restore_folder(here)
                    _check_replaceable(here, function.__name__, makes)
                fingerprint = _fingerprint(function, bound.arguments, inputs)
                with _writable(out):
                    partial = _make_partial(here, makes, fingerprint if resumes else None)
                bound.arguments["out"] = partial
                replaces = here.is_file() or (here / "stage.json").exists()
                start = time.monotonic()
                try:
                    counts = dict(function(*bound.args, **bound.kwargs))
                    seconds = round(time.monotonic() - start, 3)
                    record = fingerprint | {
                        "paths": _absolute_paths(bound.arguments, inputs),
                        "files": _sizes(partial),
                        "versions": versions(),
                        "counts": counts,
                        "seconds": seconds,
                    }
                    _publish(partial, here, record, makes)
                finally:
                    if not (resumes and _holds_work(partial)):
                        _remove(partial)
            return StageResult(function.__name__, out, counts, seconds, replaces)

        decorated = cast(Stage[Parameters], run)
        decorated.inputs = inputs
        return decorated

    return decorate


def _make_paths(bound: inspect.BoundArguments) -> None:
    """Turns texts into paths where a parameter is a path, or a tuple of them, and no text.

    Users write `out="features"` in Python; an input that stays a text would not be recorded.
    """
    for name, parameter in bound.signature.parameters.items():
        kinds = get_args(parameter.annotation) or (parameter.annotation,)
        value = bound.arguments[name]
        if Path not in kinds or str in kinds:
            continue
        if isinstance(value, str | Path):
            bound.arguments[name] = place(value)
        elif isinstance(value, tuple | list):
            bound.arguments[name] = tuple(map(place, value))


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
    bound = inspect.signature(function, eval_str=True).bind(**arguments)
    bound.apply_defaults()
    _make_paths(bound)
    out = Path(bound.arguments["out"])
    record = read_record(out)
    if not out.exists() or record is None:
        return False
    return _agrees(record, _fingerprint(function, bound.arguments, function.inputs))


def read_record(out: Path) -> dict[str, Any] | None:
    """Reads the record beside a stage's output.

    Args:
        out: What the stage made.

    Returns:
        Its record with keys `stage`, `version` (of this package), `code` (hash), `settings`,
        `inputs` (hashes), `paths` (of the inputs, lists where there are several), `files` (bytes of
        each file of a folder), `versions`, `counts` and `seconds`; None where there is none or it
        is damaged.

    Example:
        >>> record = read_record(Path("graph.tsv"))
        >>> record["stage"], record["settings"]["similarity_threshold"]
        ('build_graph', 0.0)
    """
    out = place(out).resolve()
    for path in (out / "stage.json", _record_beside(out)):
        if path.is_file():
            return _whole(_parse(path.read_bytes()))
    return None


def _parse(text: bytes) -> Any:
    """What JSON says; None where it is none."""
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
    return {name: {} for name in tables if name != "files"} | record


def check_whole(path: Path) -> None:
    """Refuses a file of a stage's folder that has not the size with which the stage left it.

    Args:
        path: The file. In folders that no stage has made, any size is right.

    Raises:
        InputError: If it was cut off, or changed in another way.
    """
    made = (read_record(path.parent) or {}).get("files", {})
    size = path.stat().st_size
    if size != made.get(path.name, size):
        raise InputError(
            f"{path}: is cut off or damaged ({size:,} bytes, but {made[path.name]:,} when it was "
            "made); make it again."
        )


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


def trace(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Follows the records back from a stage's output.

    Args:
        out: What the stage made.

    Yields:
        This output and everything that it was made from, each path with its record, as far as
        records are still where the stages read and wrote.

    Raises:
        InputError: If an output was made again after another had been made from it.

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
                known = read_record(path) is not None and path.exists()
                if known and former and _hash(path, argument) != former:
                    raise InputError(
                        f"{path}: was made again after {out} was made from it; make {out} again."
                    )
                yield from trace(path)


def _brief(value: Any) -> str:
    """A count as people read it, the length of a list."""
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key}: {each}" for key, each in value.items()) + ")"
    return str(value)


def _record_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.stage.json")


def _fingerprint(function: Callable, arguments: Mapping[str, Any], inputs: tuple[str, ...]) -> dict:
    """Everything that decides what the stage makes, as it is written to the record."""
    settings = {key: value for key, value in arguments.items() if key not in (*inputs, "out")}
    hashes = {key: _hash_input(arguments[key], key) for key in inputs}
    hashes |= {key: _hash(path, key) for key, path in _files_within(settings)}
    fingerprint = {
        "stage": function.__name__,
        "version": ser_nsl.__version__,
        "code": code_hash(function.__module__),
        "settings": settings,
        "inputs": hashes,
    }
    return json.loads(json.dumps(fingerprint, default=_to_json))


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


def _files_within(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Path]]:
    """Files that settings name, e.g. `split.lists` or a corpus's YAML: they are settings too."""
    for key, value in settings.items():
        if is_dataclass(value):
            yield from _files_within(vars(value), f"{place}{key}.")
        elif isinstance(value, str) and not value.endswith((".yaml", ".yml")):
            continue
        elif isinstance(value, Path | str) and Path(value).is_file():
            yield f"{place}{key}", Path(value)


def _agrees(record: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in fingerprint.items())


def _hash_input(
    value: Path | str | tuple[Path | str, ...] | None, argument: str
) -> str | list[Any] | None:
    """Hash of the file or folder at a path; other names stand for themselves."""
    if isinstance(value, tuple):
        return [_hash_input(each, argument) for each in value]
    if value is None or (isinstance(value, str) and not Path(value).exists()):
        return value
    return _hash(place(value), argument)


def _to_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a stage's settings must be plain data; received {value!r}")


def _hash(path: Path, argument: str) -> str:
    """BLAKE2 of a file, or of the names and files of a folder that decide what is made from it."""
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
        for each, inner in zip(files, pool.map(_hash, files, repeat(argument)), strict=True):
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


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a folder by its path there, but of the record; none for a file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    sizes.pop("stage.json", None)
    return sizes


@contextmanager
def _limits_named(out: Path) -> Iterator[None]:
    """Turns errors from limits of the disk or the system into one that says which."""
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


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Turns errors of the system into one that names the output."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"out: {out} cannot be written ({reason}); choose a folder you may write to."
        ) from error


def _check_apart(place: Path, arguments: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
    """Refuses to put a result where the stage or the user still needs what is there."""
    here = Path.cwd()
    if place in (here, *here.parents):
        raise InputError(
            f"out: {arguments['out']} is or holds the working folder, {here}; name a folder or "
            "file in it."
        )
    settings = {key: value for key, value in arguments.items() if key not in (*inputs, "out")}
    sources = list(_files_within(settings))
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


def _check_replaceable(out: Path, name: str, makes: str) -> None:
    """Refuses to put a result in the place of something that the stage has not made."""
    if makes == "folder" and out.exists() and not out.is_dir():
        raise InputError(f"out: {out} is a file, a folder is made here; choose another name.")
    if makes == "file" and out.is_dir():
        raise InputError(f"out: {out} is a folder, a file is made here; add a file name.")
    if out.exists() and not (out.is_dir() or out.is_file()):
        raise InputError(f"out: {out} is a pipe or a device; choose another name.")
    record = out / "stage.json" if makes == "folder" else _record_beside(out)
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
        refuse(sorted(_sizes(out).keys() - files), rule, "Move them, or choose another folder.")


def _maker(record: bytes, name: str) -> str | None:
    """The stage that a record names; `name` where the record is too damaged to name any."""
    known = _parse(record)
    if known is not None:
        return known.get("stage") if isinstance(known, dict) else None
    named = re.match(rb'\s*\{\s*"stage":\s*"(\w+)"', record)
    return named[1].decode() if named else name


def _make_partial(out: Path, makes: str, resumable: dict[str, Any] | None) -> Path:
    """Makes the place for unfinished work, on the same disk as `out`.

    What a killed run has left there is removed, unless its record agrees with the fingerprint
    `resumable`; a user who changed a setting by mistake should know why work starts again.
    """
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    if resumable and _holds_work(partial):
        record = _parse((partial / "stage.json").read_bytes())
        unfinished = record if isinstance(record, dict) else {}
        if _agrees(unfinished, resumable) and "counts" not in unfinished:
            return partial
        if "counts" not in unfinished:  # else an output that was replaced
            others = ", ".join(_differing(unfinished, resumable))
            print(f"{out}: starts again; unfinished work there had other {others}", flush=True)
    _remove(partial)
    if makes == "folder":
        partial.mkdir()
        if resumable:
            (partial / "stage.json").write_text(json.dumps(resumable, indent=2))
    else:
        partial.touch()
    return partial


def _differing(record: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> list[str]:
    """Names in which two fingerprints differ, e.g. `settings.training.alpha`."""
    names = []
    for key in sorted(record.keys() | other.keys()):
        one, two = record.get(key), other.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            names += _differing(one, two, f"{place}{key}.")
        elif one != two:
            names.append(f"{place}{key}")
    return names


def _holds_work(partial: Path) -> bool:
    """Whether there is anything to go on from."""
    return (partial / "stage.json").is_file() and len(list(partial.iterdir())) > 1


def _publish(partial: Path, out: Path, record: Mapping[str, Any], makes: str) -> None:
    """Renames finished work to `out`; a kill leaves the former output or the new one."""
    text = json.dumps(record, indent=2)
    if makes == "folder":
        (partial / "stage.json").write_text(text)
        replace_folder(partial, out)
        return
    beside = _record_beside(out)
    whole, begun = (out.with_name(f".{out.name}.{name}") for name in ("record", "begun"))
    try:
        whole.write_text(text)
        # From here on no record vouches for another file: this one, cut off, says who made it.
        begun.write_text(json.dumps({"stage": record["stage"]}).rstrip("}"))
        begun.replace(beside)
        partial.replace(out)
        whole.replace(beside)
    finally:
        whole.unlink(missing_ok=True)
        begun.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
