"""What all stages share: outputs that appear whole or not at all, and `stage.json` beside them.

A stage is a function that reads some input paths and writes its result at `out`. The `stage`
decorator passes it a temporary path in place of `out`, renames this when the function has
returned, and records what was done: settings, hashes of the inputs, versions, counts, seconds. A
stage that can resume gets the temporary folder of its killed or failed run again, as long as
settings and inputs are still the same.
"""

import errno
import functools
import hashlib
import inspect
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, cast, get_args

import ser_nsl
from ser_nsl.errors import InputError

__all__ = ["StageResult", "is_current", "read_record", "stage", "trace"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
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
    *, inputs: tuple[str, ...], makes: Literal["file", "folder"], resumes: bool = False
) -> Callable[[Callable[Parameters, Mapping[str, Any]]], Stage[Parameters]]:
    """Turns a function that writes `out` and returns a mapping of counts into a stage.

    Args:
        inputs: Names of the parameters that are input paths: a `Path`, a tuple of them, None, or
            a `str` that is either a path or the name of something elsewhere, such as a model of a
            hub.
        makes: Whether `out` becomes a file (its record is `<name>.stage.json` beside it) or a
            folder (its record is `stage.json` inside).
        resumes: Whether the function, which then makes a folder, goes on from what it finds in
            `out`. What it had written there when it failed or was killed is kept for the next call
            with the same `out`, settings, input hashes and version of this package; any other call
            prints what differs and gets an empty folder. Only files that were written and renamed
            are whole. The function removes what does not belong to the result before it returns.

    Returns:
        A decorator. The decorated function returns a `StageResult` and raises `InputError` if
        an input is missing, if `out` cannot be written, or if `out` is something that no stage
        has made.
    """

    def decorate(function: Callable[Parameters, Mapping[str, Any]]) -> Stage[Parameters]:
        @functools.wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> StageResult:
            bound = inspect.signature(function, eval_str=True).bind(*args, **kwargs)
            bound.apply_defaults()
            _make_paths(bound)
            out = Path(bound.arguments["out"])
            place = out.resolve()  # gives `.` a name, and leaves a link where it is
            fingerprint = _fingerprint(function.__name__, bound.arguments, inputs)
            paths = {
                key: [str(path.absolute()) for path in value]
                if isinstance(value, tuple)
                else str(value.absolute())
                for key, value in ((key, bound.arguments[key]) for key in inputs)
                if isinstance(value, Path | tuple)
            }
            partial = _make_partial(place, makes, fingerprint if resumes else None)
            bound.arguments["out"] = partial
            replaces = place.is_file() or (place / "stage.json").exists()
            start = time.monotonic()
            try:
                counts = dict(function(*bound.args, **bound.kwargs))
                seconds = round(time.monotonic() - start, 3)
                record = fingerprint | {
                    "paths": paths,
                    "versions": versions(),
                    "counts": counts,
                    "seconds": seconds,
                }
                _publish(partial, place, json.dumps(record, indent=2), makes)
            except Exception as error:
                if _is_disk_full(error):
                    raise InputError(
                        f"{out}: no space left on the disk; free some, then run again."
                    ) from error
                raise
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
        if isinstance(value, str):
            bound.arguments[name] = Path(value)
        elif isinstance(value, tuple | list):
            bound.arguments[name] = tuple(map(Path, value))


def is_current(function: Stage, arguments: Mapping[str, Any]) -> bool:
    """Returns whether the stage has already run with these settings and inputs.

    Args:
        function: A stage.
        arguments: Its keyword arguments.

    Returns:
        True if `out` exists and its record has equal settings, version and input hashes.

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
    return _agrees(record, _fingerprint(function.__name__, bound.arguments, function.inputs))


def read_record(out: Path) -> dict[str, Any] | None:
    """Reads the record beside a stage's output.

    Args:
        out: What the stage made.

    Returns:
        Its record with keys `stage`, `version` (of this package), `settings`, `inputs` (hashes),
        `paths` (of the inputs, lists where there are several), `versions`, `counts` and `seconds`;
        None where there is none.

    Example:
        >>> record = read_record(Path("graph.tsv"))
        >>> record["stage"], record["settings"]["similarity_threshold"]
        ('build_graph', 0.0)
    """
    out = Path(out).resolve()
    for path in (out / "stage.json", _record_beside(out)):
        if path.is_file():
            return json.loads(path.read_text())
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
            hashes = record["inputs"][argument]
            pairs = [(paths, hashes)] if isinstance(paths, str) else zip(paths, hashes, strict=True)
            for path, former in pairs:
                known = read_record(Path(path)) is not None and Path(path).exists()
                if known and _hash(Path(path), argument) != former:
                    raise InputError(
                        f"{path}: was made again after {out} was made from it; make {out} again."
                    )
                yield from trace(Path(path))


def _brief(value: Any) -> str:
    """A count as people read it, the length of a list."""
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key}: {each}" for key, each in value.items()) + ")"
    return str(value)


def _record_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.stage.json")


def _fingerprint(name: str, arguments: Mapping[str, Any], inputs: tuple[str, ...]) -> dict:
    """Everything that decides what the stage makes, as it is written to the record."""
    settings = {key: value for key, value in arguments.items() if key not in (*inputs, "out")}
    hashes = {key: _hash_input(arguments[key], key) for key in inputs}
    hashes |= {key: _hash(path, key) for key, path in _files_within(settings)}
    fingerprint = {
        "stage": name,
        "version": ser_nsl.__version__,
        "settings": settings,
        "inputs": hashes,
    }
    return json.loads(json.dumps(fingerprint, default=_to_json))


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
    value: Path | str | tuple[Path, ...] | None, argument: str
) -> str | list[str] | None:
    """Hash of the file or folder at a path; other names stand for themselves."""
    if isinstance(value, tuple):
        return [_hash(path, argument) for path in value]
    if value is None or (isinstance(value, str) and not Path(value).exists()):
        return value
    return _hash(Path(value), argument)


def _to_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a stage's settings must be plain data; received {value!r}")


def _hash(path: Path, argument: str) -> str:
    """BLAKE2 of a file, or of a folder's names and files; records of stages are left out."""
    if not path.exists():
        raise InputError(
            f"{argument}: {path} does not exist; check the path or run the stage that makes it."
        )
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, functools.partial(hashlib.blake2b, digest_size=16)
            ).hexdigest()
    digest = hashlib.blake2b(digest_size=16)
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.endswith("stage.json")
    ]
    with ThreadPoolExecutor() as pool:
        for each, inner in zip(files, pool.map(_hash, files, repeat(argument)), strict=True):
            digest.update(f"{each.relative_to(path)}\0{inner}\n".encode())
    return digest.hexdigest()


def _make_partial(out: Path, makes: str, resumable: dict[str, Any] | None) -> Path:
    """Makes the place for unfinished work, on the same disk as `out`.

    What a killed run has left there is removed, unless its record agrees with the fingerprint
    `resumable`; a user who changed a setting by mistake should know why work starts again.
    """
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        _check_replaceable(out, makes)
        out.parent.mkdir(parents=True, exist_ok=True)
        if resumable and _agrees(_read_unfinished(partial), resumable):
            return partial
        if resumable and _holds_work(partial):
            others = ", ".join(_differing(_read_unfinished(partial), resumable))
            print(f"{out}: starts again; unfinished work there had other {others}", flush=True)
        _remove(partial)
        if makes == "folder":
            partial.mkdir()
            if resumable:
                (partial / "stage.json").write_text(json.dumps(resumable, indent=2))
        else:
            partial.touch()
    except OSError as error:
        raise InputError(
            f"out: {out} cannot be written ({error.strerror}); choose a folder you may write to."
        ) from error
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


def _read_unfinished(partial: Path) -> dict[str, Any]:
    """The record of unfinished work, as far as it was written."""
    try:
        return json.loads((partial / "stage.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _holds_work(partial: Path) -> bool:
    """Whether there is anything to go on from."""
    return partial.is_dir() and any(path.name != "stage.json" for path in partial.iterdir())


def _check_replaceable(out: Path, makes: str) -> None:
    """Refuses to put a result in the place of something that no stage has made."""
    if makes == "folder" and out.exists():
        if not out.is_dir():
            raise InputError(f"out: {out} is a file, a folder is made here; choose another name.")
        if any(out.iterdir()) and not (out / "stage.json").exists():
            raise InputError(
                f"out: {out} holds files that no stage has made, so it is not replaced; "
                "choose another folder or empty this one."
            )
    if makes == "file" and out.is_dir():
        raise InputError(f"out: {out} is a folder, a file is made here; add a file name.")


def _publish(partial: Path, out: Path, record: str, makes: str) -> None:
    """Renames finished work to `out`; the former output is removed only now."""
    if makes == "folder":
        (partial / "stage.json").write_text(record)
        former = out.with_name(f".{out.name}.former")
        _remove(former)
        if out.exists():
            out.rename(former)
        partial.rename(out)
        _remove(former)
    else:
        # An old record beside a new file would describe other work.
        _record_beside(out).unlink(missing_ok=True)
        partial.replace(out)
        partial.write_text(record)
        partial.replace(_record_beside(out))


def _is_disk_full(error: Exception) -> bool:
    """Whether the disk is full, by error number or in the words of TensorFlow and HDF5."""
    return getattr(error, "errno", None) in _DISK_FULL or any(
        os.strerror(number) in str(error) for number in _DISK_FULL
    )


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
