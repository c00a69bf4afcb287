"""The error that is meant for the person who runs a stage."""

import errno
import os
from collections.abc import Iterable

__all__ = [
    "InputError",
    "check_least",
    "check_seed",
    "check_unused",
    "limit_reached",
    "printable",
    "refuse",
]

_LAST_SEED = 2**32 - 1
_LIMITS = {
    errno.ENOSPC: "no space left on the disk; free some, then run again",
    errno.EDQUOT: "no space left on the disk; free some of your quota, then run again",
    errno.EFBIG: "a file would be larger than the disk or `ulimit -f` allows; write to another "
    "disk, raise the limit, or make more and smaller files",
    errno.EMFILE: "more files would be open than `ulimit -n` allows; raise the limit, or make "
    "fewer files",
    errno.ENAMETOOLONG: "a name is longer than the disk allows; shorten it",
    errno.ENFILE: "more files would be open than the system allows; end other programs",
}


class InputError(ValueError):
    """Something a user gave (a file, a folder, a setting) breaks a rule.

    The message names the file or argument, states the rule, shows the value received and says
    the next step. Commands print it in one line, without a traceback.

    Example:
        >>> raise InputError("shards: must be 1 to 99,999; received 0.")
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: shards: must be 1 to 99,999; received 0.
    """


def refuse(offenders: Iterable[object], rule: str, next_step: str = "") -> None:
    """Raises an error that counts what breaks a rule and names the first three, if there is any.

    Args:
        offenders: Ids or other names of what breaks the rule.
        rule: Which file or argument, and what is wrong with the offenders.
        next_step: What to do about it, where the rule does not say it.

    Raises:
        InputError: If there are offenders.

    Example:
        >>> refuse([], "graph.tsv: clips have no features", "Extract them.")
        >>> refuse("abcd", "graph.tsv: clips have no features", "Extract them.")
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: graph.tsv: clips have no features (4; first: a, b, c). Extract
        them.
    """
    names = [str(offender) for offender in offenders]
    if names:
        first = ", ".join(names[:3])
        raise InputError(f"{rule} ({len(names)}; first: {first}). {next_step}".rstrip())


def printable(text: str) -> str:
    r"""Escapes what would break a line, or command a terminal, such as a file name may hold.

    Args:
        text: Any text.

    Returns:
        The text, in which characters that cannot be printed are escapes of Python.

    Example:
        >>> printable("a\nb é.wav")
        'a\\nb é.wav'
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def check_seed(name: str, seed: object) -> None:
    """Refuses a seed that not every random generator takes.

    Args:
        name: Name of the argument or setting.
        seed: Value received; only numbers are checked.

    Raises:
        InputError: If it is below 0 or above 2^32 - 1.

    Example:
        >>> check_seed("split.seed", 7)
    """
    if isinstance(seed, int) and not 0 <= seed <= _LAST_SEED:
        raise InputError(f"{name}: must be 0 to {_LAST_SEED}; received {seed}.")


def check_least(least: int, **settings: int | None) -> None:
    """Refuses settings that are below a number.

    Args:
        least: The least value that is allowed.
        **settings: Values by name; None for those that were not given.

    Raises:
        InputError: If one is less; it names the first.

    Example:
        >>> check_least(1, shards=4, workers=0)
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: workers: must be 1 or more; received 0.
    """
    for name, value in settings.items():
        if value is not None and value < least:
            raise InputError(f"{name}: must be {least} or more; received {value}.")


def check_unused(when: str, **settings: tuple[object, object]) -> None:
    """Refuses settings that would be ignored.

    Args:
        when: Under which circumstances they are.
        **settings: By name, the value and the default, with which none was asked for.

    Raises:
        InputError: If one is not its default; it names the first.

    Example:
        >>> check_unused("without --microphone", hop_seconds=(2.0, 0.5))
        Traceback (most recent call last):
        ...
        ser_nsl.errors.InputError: hop_seconds: has no effect without --microphone; received 2.0.
        Leave it out.
    """
    for name, (value, default) in settings.items():
        if value != default:
            raise InputError(f"{name}: has no effect {when}; received {value}. Leave it out.")


def limit_reached(error: BaseException) -> str:
    """Says which limit of the disk or the system an error comes from.

    Args:
        error: An error with a number of the system, or with its words, as TensorFlow and HDF5
            raise them.

    Returns:
        The limit and what to do about it; empty for other errors.

    Example:
        >>> limit_reached(OSError(errno.EFBIG, "File too large"))
        'a file would be larger than the disk or `ulimit -f` allows; ...'
    """
    for number, limit in _LIMITS.items():
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return limit
    return ""
