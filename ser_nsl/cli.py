"""The command line of every script that runs on the full install."""

import inspect
import os
import re
import sys
from collections.abc import Callable

import tyro

from ser_nsl.errors import InputError

# TensorFlow reads this when it is imported, which scripts do after this module: its notes on
# missing GPUs and CPU features would bury the one line that a user needs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def run(function: Callable) -> None:
    """Runs `function` with arguments from the command line and prints what it returns.

    Flags, types, defaults and help texts are those of the function's signature and docstring.
    An `InputError` ends the program with exit status 1 and its message in one line.

    Args:
        function: A function with annotated, documented parameters; the positional-only ones
            become positional arguments, the others flags.
    """
    _join_lines(function)
    try:
        print(tyro.cli(function))
    except InputError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "stopped; earlier outputs are untouched, the same command goes on",
            file=sys.stderr,
        )
        sys.exit(130)


def _join_lines(function: Callable) -> None:
    """Puts each text on a parameter into one line, since tyro keeps a docstring's line breaks."""
    innermost = inspect.unwrap(function)  # where tyro looks
    innermost.__doc__ = re.sub(r"\n {12}(?=\S)", " ", innermost.__doc__)
