"""What decides what a stage makes, and so whether this is up to date: settings, inputs and code."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import ser_nsl
from ser_nsl.pipeline.code import code_hash
from ser_nsl.pipeline.hashes import hash_input, hash_path


def take_fingerprint(
    function: Callable, arguments: Mapping[str, Any], inputs: tuple[str, ...]
) -> dict[str, Any]:
    """Collects everything that decides what a stage makes.

    Args:
        function: The stage.
        arguments: All its arguments, by name.
        inputs: Names of those that are input paths.

    Returns:
        `stage`, `version` (of this package), `code` (hash), `settings` and `inputs` (hashes; also
        of files that settings name), as the record has them.

    Raises:
        InputError: If an input does not exist or cannot be read.
        TypeError: If a setting is no plain data.
    """
    settings = {key: value for key, value in arguments.items() if key not in (*inputs, "out")}
    hashes = {key: hash_input(arguments[key], key) for key in inputs}
    hashes |= {key: hash_path(path, key) for key, path in files_within(settings)}
    fingerprint = {
        "stage": function.__name__,
        "version": ser_nsl.__version__,
        "code": code_hash(function.__module__),
        "settings": settings,
        "inputs": hashes,
    }
    return json.loads(json.dumps(fingerprint, default=_to_json))


def files_within(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Path]]:
    """Finds the files that settings name, for these are settings too.

    Args:
        settings: Settings by name; dataclasses hold more of them.
        place: What comes before the names.

    Yields:
        Names, e.g. `split.lists`, and existing files.
    """
    for key, value in settings.items():
        if is_dataclass(value):
            yield from files_within(vars(value), f"{place}{key}.")
        elif isinstance(value, str) and not value.endswith((".yaml", ".yml")):
            continue
        elif isinstance(value, Path | str) and Path(value).is_file():
            yield f"{place}{key}", Path(value)


def _to_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a stage's settings must be plain data; received {value!r}")


def agrees(record: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> bool:
    """Returns whether a record has all that a fingerprint has; counts and times do not matter."""
    return all(record.get(key) == value for key, value in fingerprint.items())


def differing(record: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> list[str]:
    """Lists where two fingerprints differ.

    Args:
        record: One of them.
        other: The other.
        place: What comes before the names.

    Returns:
        Names in order, e.g. `settings.training.alpha`.
    """
    names = []
    for key in sorted(record.keys() | other.keys()):
        one, two = record.get(key), other.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            names += differing(one, two, f"{place}{key}.")
        elif one != two:
            names.append(f"{place}{key}")
    return names
