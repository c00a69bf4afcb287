"""The command line: one registry for `ser-nsl COMMAND` and for the scripts of `tools/`.

A command is a public function. Its signature gives the flags, their types and defaults, and its
docstring their texts. Its module is imported when the command is called, so that `ser-nsl --help`
imports nothing, and `ser-nsl COMMAND --help` no TensorFlow.
"""

import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import NoReturn, get_args, get_origin

import tyro

from ser_nsl import __version__
from ser_nsl.errors import InputError, limit_reached, printable

# TensorFlow reads this when it is imported, which happens later: its notes on missing GPUs and CPU
# features would bury the one line that a user needs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Command:
    """A command of `ser-nsl`; its function has the same name, with underscores.

    Attributes:
        module: Module of the function, within `ser_nsl`.
        summary: What the command does, in one line.
        extra: The optional dependencies that it needs; empty for the base install.
    """

    module: str
    summary: str
    extra: str = "train"


GROUPS = {
    "A recogniser at work": {
        "predict": Command("edge.predict", "the emotion in audio files, folders, a microphone", ""),
        "serve": Command("web.serve", "a page that runs a recogniser in the browser", ""),
        "models": Command("edge.models", "the recognisers that ship with this package", ""),
    },
    "The whole chain": {
        "run-pipeline": Command("pipeline.commands", "an experiment, from audio to .tflite"),
        "sweep": Command("pipeline.commands", "many trainings, over folds and arms"),
        "make-report": Command("pipeline.commands", "the report of a run or a sweep"),
    },
    "Corpora": {
        "download-corpus": Command("corpora.download", "a corpus from its official archive"),
        "make-synthetic-corpus": Command(
            "corpora.synthetic.corpus", "synthetic speech named like a known corpus", "synthetic"
        ),
        "prepare-corpus": Command("corpora.prepare", "audio folder or table -> manifest.csv"),
        "extract-features": Command("audio.features", "manifest -> log Mel records"),
    },
    "Upstream and embeddings": {
        "train-head": Command("upstream.train_head", "train an emotion head on a frozen encoder"),
        "finetune-upstream": Command("upstream.finetune", "train a whole wav2vec 2.0 on emotions"),
        "distill-upstream": Command(
            "upstream.distill", "teach a small wav2vec 2.0 what a large one hears"
        ),
        "measure-upstream": Command("evaluation.upstream", "how much emotion an upstream holds"),
        "extract-embeddings": Command("upstream.embed", "manifest -> embeddings by a speech model"),
        "extract-mfccs": Command("embeddings.mfcc", "manifest -> embeddings by MFCC statistics"),
        "center-embeddings": Command("embeddings.center", "subtract each speaker's mean embedding"),
        "fuse-embeddings": Command("embeddings.fuse", "join embeddings of several kinds"),
        "probe-embeddings": Command(
            "embeddings.probe", "embeddings -> class probabilities of a linear classifier"
        ),
    },
    "Graph": {
        "build-graph": Command("graph.build", "embeddings -> graph of similar clips"),
        "select-edges": Command("graph.select", "only edges between speakers, or the nearest"),
        "control-graph": Command("graph.controls", "a random graph, or one that knows the labels"),
        "propagate-labels": Command("graph.propagate", "carry labels along the edges of a graph"),
        "inspect-graph": Command("reports.inspection", "a page about what a graph's edges join"),
        "pack-neighbors": Command("graph.pack", "log Mel records and graph -> training records"),
        "beam-graph": Command("beam.run", "embeddings, graph and records on a cluster", "beam"),
    },
    "Light networks": {
        "pseudo-label": Command("training.pseudo_labels", "label unlabelled clips by a probe"),
        "teach-network": Command("training.teach", "teach a light network what a large one hears"),
        "train-downstream": Command("training.train", "train a light network on labels and graph"),
        "evaluate": Command("evaluation.model", "UAR and accuracy of a trained network"),
        "evaluate-baseline": Command(
            "evaluation.baseline", "UAR and accuracy of a linear classifier on embeddings"
        ),
        "choose-model": Command("training.choose", "of several networks what validated best"),
        "export-tflite": Command("export.tflite", "trained network -> .tflite"),
    },
}
"""Commands by name, in groups, in the order in which one needs them."""

# Within the text of a parameter, and before what tyro takes for a new item of a list.
_LINE_BREAKS = re.compile(r"\n {12}(?=\S)|(?<=\S)\n {4}(?=[`\d(\[\"])")

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
"""All commands by name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `ser-nsl`.

    Args:
        arguments: Command and flags; those of the process by default.
    """
    try:
        _run_named(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run_named(given: list[str]) -> None:
    """Runs the command that stands first."""
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
    elif given[0] == "--version":
        print(__version__)
    elif given[0] in COMMANDS:
        run(given[0], given[1:])
    else:
        print(
            f"ser-nsl: there is no command {given[0]!r}; `ser-nsl --help` lists them.",
            file=sys.stderr,
        )
        sys.exit(2)


def load(command: str) -> Callable:
    """Imports the function of a command.

    Args:
        command: A key of `COMMANDS`.

    Returns:
        The function.

    Raises:
        ModuleNotFoundError: If a package that it needs is not installed.
    """
    module = importlib.import_module(f"ser_nsl.{COMMANDS[command].module}")
    return getattr(module, command.replace("-", "_"))


def run(command: str, arguments: Sequence[str] | None = None) -> None:
    """Runs one command.

    Args:
        command: A key of `COMMANDS`.
        arguments: Its flags; those of the process by default.
    """
    extra = COMMANDS[command].extra
    try:
        function = load(command)
    except ModuleNotFoundError as error:
        _end(_not_installed(error, extra))
    run_function(function, arguments, program=f"ser-nsl {command}", extra=extra)


def run_function(
    function: Callable,
    arguments: Sequence[str] | None = None,
    *,
    program: str | None = None,
    extra: str = "train",
) -> None:
    """Calls a function with arguments from the command line and prints what it returns.

    An `InputError` ends the program with exit status 1 and its message on one line.

    Args:
        function: A function with annotated, documented parameters. Positional-only ones become
            positional arguments, the others flags.
        arguments: The arguments; those of the process by default.
        program: Its name in the help; that of the script by default.
        extra: The optional dependencies to name if a package is missing.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not be text, nor all shown
    _join_lines(function)
    arguments = sys.argv[1:] if arguments is None else arguments
    if empty := _empty_path(function, arguments):
        _end(InputError(f"{empty}: must not be empty, as where a shell variable has no value."))
    if twice := _given_twice(function, arguments):
        _end(InputError(f"{twice}; give it once, with all values, since only the last counts."))
    try:
        result = tyro.cli(function, prog=program, args=arguments, config=(tyro.conf.DisallowNone,))
    except InputError as error:
        _end(error)
    except ModuleNotFoundError as error:
        _end(_not_installed(error, extra))
    except OSError as error:  # of what is no stage
        limit = limit_reached(error)
        if not limit and error.filename is None:
            raise
        reason = limit or f"{error.strerror}; check the path, and who may read and write there"
        _end(InputError(f"{error.filename or 'disk'}: {reason}."))
    except KeyboardInterrupt:
        print("stopped; earlier outputs are untouched, the same command goes on", file=sys.stderr)
        sys.exit(130)
    if result is not None:
        print(result)


def _empty_path(function: Callable, arguments: Sequence[str]) -> str:
    """Name of the parameter that gets an empty path, which would mean the working folder."""
    parameters = inspect.signature(function, eval_str=True).parameters
    current = next(iter(parameters), "")  # positional ones come first
    for argument in arguments:
        if argument.startswith("--"):
            current = argument[2:].partition("=")[0].replace("-", "_")
        kind = parameters[current].annotation if current in parameters else None
        if argument in ("", f"--{current.replace('_', '-')}=") and Path in (kind, *get_args(kind)):
            return current
    return ""


def _given_twice(function: Callable, arguments: Sequence[str]) -> str:
    """Says which flag, or which key of pairs, is there twice; empty if none is."""
    parameters = inspect.signature(function, eval_str=True).parameters
    given: dict[str, list[str]] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            flag, _, value = argument[2:].partition("=")
            name = flag.replace("_", "-")
            if name in given:
                return f"{name.replace('-', '_')}: is there twice"
            given[name] = [value] if value else []
        elif name:
            given[name].append(argument)
    for name, values in given.items():
        parameter = parameters.get(name.replace("-", "_"))
        if parameter is not None and get_origin(parameter.annotation) is dict:
            keys = [" ".join(key.split()) for key in values[::2]]
            twice = [key for key in keys if keys.count(key) > 1]
            if twice:
                return f"{parameter.name}: {twice[0]!r} is there twice"
    return ""


def _end(error: InputError) -> NoReturn:
    print(f"error: {printable(' '.join(str(error).splitlines()))}", file=sys.stderr)
    sys.exit(1)


def _not_installed(error: ModuleNotFoundError, extra: str) -> InputError:
    """Says what to install; a missing module of our own is a bug and stays one."""
    if (error.name or "").split(".")[0] == "ser_nsl":
        raise error
    target = f"'ser-nsl[{extra}]'" if extra else "ser-nsl"
    return InputError(
        f"{error.name}: this Python package is missing; install it with pip install {target} "
        "(on Linux with Python 3.10 or 3.11 for what trains)."
    )


def _overview() -> str:
    """The help of `ser-nsl`."""
    width = max(map(len, COMMANDS))
    lines = [
        "usage: ser-nsl COMMAND ...",
        "",
        "Small speech emotion recognisers for phones, and the chain that trains them.",
        "",
    ]
    for title, group in GROUPS.items():
        lines += [f"{title}:"]
        lines += [f"  {name:<{width}}  {command.summary}" for name, command in group.items()]
        lines += [""]
    lines += [
        "`ser-nsl COMMAND --help` explains a command; `ser-nsl --version` prints the version."
    ]
    return "\n".join(lines)


def _join_lines(function: Callable) -> None:
    """Joins the lines of each text, of settings too, since tyro keeps a docstring's line breaks."""
    innermost = inspect.unwrap(function)  # where tyro looks for parameters
    for each in (function, innermost):
        each.__doc__ = _LINE_BREAKS.sub(" ", each.__doc__ or "")
    waiting = [each.default for each in inspect.signature(innermost).parameters.values()]
    for value in waiting:
        if is_dataclass(value) and not isinstance(value, type):
            for kind in type(value).__mro__[:-1]:
                kind.__doc__ = _LINE_BREAKS.sub(" ", kind.__doc__ or "")
            waiting += vars(value).values()


if __name__ == "__main__":
    main()
