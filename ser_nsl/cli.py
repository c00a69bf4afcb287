"""The command line: one registry for `ser-nsl COMMAND` and for the scripts of `tools/`.

A command is a public function. Its signature gives the flags, their types and defaults, and its
docstring their texts. Its module is imported when the command is called, so that `ser-nsl --help`
imports nothing, and `ser-nsl COMMAND --help` no TensorFlow.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tyro

from ser_nsl import __version__
from ser_nsl.errors import InputError

# TensorFlow reads this when it is imported, which happens later: its notes on missing GPUs and CPU
# features would bury the one line that a user needs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Command:
    """A command of `ser-nsl`.

    Attributes:
        function: Where it is, as `package.module:function` within `ser_nsl`.
        summary: What it does, in one line.
        extra: The optional dependencies that it needs; empty for the base install.
    """

    function: str
    summary: str
    extra: str = "train"

    def load(self) -> Callable:
        """Imports the function.

        Returns:
            The function.

        Raises:
            InputError: If a package that it needs is not installed.
        """
        module, name = self.function.split(":")
        try:
            return getattr(importlib.import_module(f"ser_nsl.{module}"), name)
        except ModuleNotFoundError as error:
            raise _not_installed(error, self.extra) from error


GROUPS = {
    "A recogniser at work": {
        "predict": Command(
            "edge.predict:predict", "the emotion in audio files, a folder or the microphone", ""
        ),
        "serve": Command("web.serve:serve", "a page that runs a recogniser in the browser", ""),
        "models": Command("edge.models:models", "the recognisers that ship with this package", ""),
    },
    "The whole chain": {
        "run-pipeline": Command(
            "pipeline.commands:run_pipeline", "all steps of an experiment, from audio to .tflite"
        ),
        "sweep": Command("pipeline.commands:sweep", "many trainings, over folds and arms"),
        "make-report": Command("pipeline.commands:make_report", "the report of a run or a sweep"),
    },
    "Corpora": {
        "download-corpus": Command(
            "corpora.download:download_corpus", "a corpus from its official archive"
        ),
        "make-synthetic-corpus": Command(
            "corpora.synthetic.corpus:make_synthetic_corpus",
            "synthetic emotional speech with the file names of a known corpus",
            "synthetic",
        ),
        "prepare-corpus": Command(
            "corpora.prepare:prepare_corpus", "audio folder or table -> manifest.csv"
        ),
        "extract-features": Command(
            "audio.features:extract_features", "manifest -> log Mel records"
        ),
    },
    "Upstream and embeddings": {
        "make-upstream": Command("upstream.make:make_upstream", "a small untrained wav2vec 2.0"),
        "finetune-upstream": Command(
            "upstream.finetune:finetune_upstream", "train a wav2vec 2.0 on a corpus's emotions"
        ),
        "measure-upstream": Command(
            "evaluation.upstream:measure_upstream", "how much emotion an upstream's embeddings hold"
        ),
        "extract-embeddings": Command(
            "upstream.embed:extract_embeddings", "manifest -> embeddings by a wav2vec 2.0"
        ),
        "extract-mfccs": Command(
            "embeddings.mfcc:extract_mfccs", "manifest -> embeddings by MFCC statistics"
        ),
        "center-embeddings": Command(
            "embeddings.center:center_embeddings", "subtract each speaker's mean embedding"
        ),
        "fuse-embeddings": Command(
            "embeddings.fuse:fuse_embeddings", "join embeddings of several kinds"
        ),
        "probe-embeddings": Command(
            "embeddings.probe:probe_embeddings",
            "embeddings -> class probabilities of a linear classifier",
        ),
    },
    "Graph": {
        "build-graph": Command("graph.build:build_graph", "embeddings -> graph of similar clips"),
        "select-edges": Command(
            "graph.select:select_edges", "only the edges between speakers, or the nearest ones"
        ),
        "control-graph": Command(
            "graph.controls:control_graph", "a random graph, or one that knows the labels"
        ),
        "inspect-graph": Command(
            "reports.inspection:inspect_graph", "a page about what the edges of a graph join"
        ),
        "pack-neighbors": Command(
            "graph.pack:pack_neighbors", "log Mel records and graph -> training records"
        ),
        "beam-graph": Command(
            "beam.run:beam_graph", "embeddings, graph and training records on a cluster", "beam"
        ),
    },
    "Light networks": {
        "pseudo-label": Command(
            "training.pseudo_labels:pseudo_label", "give unlabelled clips the labels of a probe"
        ),
        "train-downstream": Command(
            "training.train:train_downstream", "train a light network with labels and graph"
        ),
        "evaluate": Command("evaluation.model:evaluate", "UAR and accuracy of a trained network"),
        "export-tflite": Command("export.tflite:export_tflite", "trained network -> .tflite"),
    },
}
"""Commands by name, in groups, in the order in which one needs them."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
"""All commands by name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `ser-nsl`.

    Args:
        arguments: Command and flags; those of the process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
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


def run(command: str, arguments: Sequence[str] | None = None) -> None:
    """Runs one command.

    Args:
        command: A key of `COMMANDS`.
        arguments: Its flags; those of the process by default.
    """
    entry = COMMANDS[command]
    try:
        run_function(entry.load(), arguments, program=f"ser-nsl {command}", extra=entry.extra)
    except InputError as error:
        _end(error)


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
    _join_lines(function)
    try:
        result = tyro.cli(function, prog=program, args=arguments)
    except InputError as error:
        _end(error)
    except ModuleNotFoundError as error:
        _end(_not_installed(error, extra))
    except KeyboardInterrupt:
        print("stopped; earlier outputs are untouched, the same command goes on", file=sys.stderr)
        sys.exit(130)
    if result is not None:
        print(result)


def _end(error: InputError) -> None:
    print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
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
    """Joins the lines of each parameter's text, since tyro keeps a docstring's line breaks."""
    innermost = inspect.unwrap(function)  # where tyro looks
    innermost.__doc__ = re.sub(r"\n {12}(?=\S)", " ", innermost.__doc__ or "")


if __name__ == "__main__":
    main()
