"""Settings from YAML files: those of the package by name, or a user's own."""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    KeyValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from ser_nsl.errors import InputError, check_seed, refuse

Settings = TypeVar("Settings")

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
"""Precisions of training, as Keras names them."""

MOST = 1_000_000
"""More epochs, clips a step or neighbours are a slip of the hand."""


def check(holds: bool, name: str, rule: str, value: object) -> None:
    """Refuses a setting that breaks a rule.

    Args:
        holds: Whether the rule holds.
        name: Name of the setting.
        rule: What the setting must be, e.g. `0 or more`.
        value: Value received.

    Raises:
        ValueError: If it does not hold.
    """
    if not holds:
        raise ValueError(f"{name} must be {rule}; received {value!r}")


def read_settings(
    kind: type[Settings],
    config: str,
    *,
    folder: str,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Settings:
    """Reads settings and checks them.

    Args:
        kind: Their dataclass, whose `__post_init__` raises ValueError for bad values.
        config: Name of a file in `folder`, without suffix, or path of a YAML file.
        folder: Folder of the package's own files, e.g. `pipeline/configs`.
        overrides: Settings to change, as `training.epochs=5` or `seeds=[0,1]`.
        changes: Other settings to change, before these.

    Returns:
        The settings.

    Raises:
        InputError: If there is no such file, a key is unknown, a value breaks its rule or is not
            finite, or one is a `${...}`, which could read environment variables.
    """
    path, own = Path(config), Path(str(resources.files("ser_nsl"))) / folder
    if path.suffix not in (".yaml", ".yml"):
        path = own / f"{config}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in own.glob("*.yaml"))
        raise InputError(
            f"config: {config!r} is neither a YAML file nor one of {', '.join(known)}."
        )
    names = [override.partition("=")[0].strip() for override in overrides]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    refuse(twice, "set: settings are there twice", "Give each once, since only the last counts.")
    given: list[Any] = []
    try:
        given = [OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))]
        for each in given:
            _check_plain(OmegaConf.to_container(each, resolve=False))
        check(isinstance(given[0], DictConfig), "settings", "lines of KEY: VALUE", given[0])
        settings, others = given
        for setting, _, value in (override.partition("=") for override in overrides):
            if value.strip() == "{}":  # a merge would keep all that the file has there
                OmegaConf.update(settings, setting, {}, merge=False)
        merged = OmegaConf.merge(OmegaConf.structured(kind), settings, dict(changes or {}), others)
        return cast(Settings, OmegaConf.to_object(merged))
    except (
        OmegaConfBaseException,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
        YAMLError,
    ) as error:
        raise InputError(f"{path.name}: {_in_words(error, kind, given)}") from error


def _in_words(error: Exception, kind: Any, given: Sequence[Any]) -> str:
    """Says which setting is at fault, where OmegaConf leaves that open or calls it by its class."""
    reason = " ".join(str(error).partition("\n    full_key:")[0].split())
    key = getattr(error, "full_key", None)
    if isinstance(error, UnicodeDecodeError):
        return f"is not text in UTF-8 ({error.reason} at byte {error.start}); save it in UTF-8"
    if isinstance(error, KeyValidationError):
        return f"{str(key).rpartition('.')[0]}: keys must be text; put quotes around {error.key!r}"
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: is missing, and must be given"
    if isinstance(error, ConfigKeyError):
        outer, _, name = str(key).rpartition(".")
        known = [place.rpartition(".") for place in _places(OmegaConf.structured(kind))]
        close = [f"{other}.{name}".lstrip(".") for other, _, same in known if same == name]
        beside = [*getattr(error.object_type, "__dataclass_fields__", {})]
        close += [f"{outer}.{same}".lstrip(".") for same in get_close_matches(name, beside, 3, 0.7)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(beside)}"
        return f"{key}: {name!r} is no setting; {hint}"
    if "TupleConfig" in reason or "typing.List" in reason:
        return f"{key}: must be a list such as [1, 2]; received {getattr(error, 'value', None)!r}"
    if " to Dict[" in reason:
        return f"{key}: must be lines of NAME: VALUE; received {getattr(error, 'value', None)!r}"
    if isinstance(error, ValidationError) and key is None:
        for setting, value in ((name, each[name]) for each in given for name in each):
            try:
                OmegaConf.merge(OmegaConf.structured(kind), {setting: value})
            except ValidationError:
                wanted = "whole numbers" if "Integer" in reason else "of another type"
                return f"{setting}: must be {wanted}; received {value}"
    return f"{key}: {reason}" if key and key not in reason else reason


def _places(settings: Any, place: str = "") -> list[str]:
    """Names of all settings, with those that they are within."""
    names = []
    for name in settings:
        names.append(f"{place}{name}")
        if not OmegaConf.is_missing(settings, name) and isinstance(settings[name], DictConfig):
            names += _places(settings[name], f"{place}{name}.")
    return names


def _check_plain(values: Any, place: str = "") -> None:
    """Refuses values that OmegaConf would look up elsewhere, and numbers without a size."""
    if isinstance(values, dict):
        for key, value in values.items():
            _check_plain(key, place)
            _check_plain(value, f"{place}.{key}" if place else str(key))
    elif isinstance(values, list):
        for value in values:
            _check_plain(value, place)
    elif isinstance(values, str):
        check("${" not in values, place or "settings", "plain text, without ${...}", values)
    elif place.endswith(("seed", "seeds")):
        check_seed(place, values)
    elif isinstance(values, float):
        check(math.isfinite(values), place, "a finite number", values)


def change_settings(settings: Settings, changes: Mapping[str, Any], *, place: str) -> Settings:
    """Returns settings of which some are changed, and checks them.

    Args:
        settings: The settings, a dataclass.
        changes: New values by name; those of settings within these as a mapping.
        place: Where the changes stand, for the error.

    Raises:
        ValueError: If there is no such setting, or a value breaks its rule.

    Example:
        >>> from ser_nsl.training import TrainingConfig
        >>> changes = {"epochs": 9, "augmentation": {"time_masks": 2}}
        >>> changed = change_settings(TrainingConfig(), changes, place="trials.masks")
        >>> changed.epochs, changed.batch_size, changed.augmentation.time_masks
        (9, 16, 2)
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(settings), dict(changes))
        return cast(Settings, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise ValueError(f"{place}: {_in_words(error, settings, [changes])}") from error


def save_settings(settings: Any, path: Path) -> None:
    """Writes settings with all defaults to a file that `read_settings` reads."""
    path.write_text(_as_yaml(settings), encoding="utf-8")


def check_own_file(config: str, settings: Any, saved: Path) -> None:
    """Refuses to save settings over the file of the user's that they were read from.

    Args:
        config: What the user gave: a path, or the name of a shipped file.
        settings: What was read from it.
        saved: Where `save_settings` will write.

    Raises:
        InputError: If the two are one file, and writing would change it.
    """
    path = Path(config)
    if not (path.is_file() and saved.is_file() and path.samefile(saved)):
        return
    if path.read_text(encoding="utf-8") != _as_yaml(settings):
        raise InputError(
            f"config: {config} is where the settings of this run are saved, which would replace "
            "it; move it out of the folder, or give another --out."
        )


def _as_yaml(settings: Any) -> str:
    values = OmegaConf.to_container(OmegaConf.structured(settings))
    return OmegaConf.to_yaml(OmegaConf.create(_without_paths(values)))


def _without_paths(values: Any) -> Any:
    """Values with paths as text, which YAML would write as code of Python."""
    if isinstance(values, dict):
        return {key: _without_paths(value) for key, value in values.items()}
    if isinstance(values, list):
        return [*map(_without_paths, values)]
    return str(values) if isinstance(values, Path) else values
