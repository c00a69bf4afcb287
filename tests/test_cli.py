import inspect
import io
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ser_nsl import __version__, cli
from ser_nsl.audio import FrontEndConfig
from ser_nsl.errors import InputError

TOOLS = sorted((Path(__file__).parents[1] / "tools").glob("*.py"))
HEAVY = "tensorflow.python keras transformers neural_structured_learning sklearn scipy "
HEAVY += "librosa.version matplotlib statsmodels mediapipe apache_beam faiss"


def text_of(printed: str) -> str:
    """What help says, without its frame and line breaks."""
    return " ".join(printed.replace("│", " ").split())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_and_refuses_unknown_flags(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    shown = capsys.readouterr()
    assert (end.value.code, shown.err) == (0, "")
    assert f"usage: ser-nsl {command}" in text_of(shown.out)

    with pytest.raises(SystemExit) as end:
        cli.main([command, "--no-such-flag", "3"])
    shown = capsys.readouterr()
    assert (end.value.code, shown.out) == (2, "")
    assert "Traceback" not in shown.err


def test_no_command_imports_what_takes_seconds_before_it_is_called():
    code = """
        import sys
        from ser_nsl.cli import COMMANDS, load
        assert len(sys.modules) < 500, "the registry alone imports too much"
        for name in COMMANDS:
            load(name)
            for heavy in sys.argv[1:]:
                assert heavy not in sys.modules, f"{name} imports {heavy}"
    """
    code = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY.split()], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", TOOLS, ids=lambda path: path.stem)
def test_scripts_call_commands(script, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])

    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")

    assert end.value.code == 0
    command = "serve" if script.stem == "serve_demo" else script.stem.replace("_", "-")
    assert f"usage: ser-nsl {command}" in text_of(capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview_lists_all_commands(arguments, capsys):
    cli.main(arguments)

    printed = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"\n  {name} " not in printed] == []
    assert max(map(len, printed.splitlines())) < 100


def test_version(capsys):
    cli.main(["--version"])

    assert capsys.readouterr().out == f"{__version__}\n"
    changes = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == __version__


def test_unknown_command_is_named(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["paint"])

    assert end.value.code == 2
    assert "'paint'" in capsys.readouterr().err


def test_help_shows_types_defaults_choices_and_texts(capsys):
    with pytest.raises(SystemExit):
        cli.main(["extract-features", "--help"])

    printed = text_of(capsys.readouterr().out)
    assert "--clip-seconds FLOAT" in printed
    assert "--front-end.hop-samples INT Step from frame to frame" in printed
    assert "(default: 256)" in printed


def test_command_prints_what_it_made(tone_corpus, tmp_path, capsys):
    out = tmp_path / "manifest.csv"
    arguments = ["--corpus", "ravdess", "--audio-dir", str(tone_corpus), "--out", str(out)]

    cli.main(["prepare-corpus", *arguments, "--split.seed", "1", "--leave-out", "anger"])

    printed = capsys.readouterr().out
    assert "clips 24, speakers 6" in printed
    assert printed.endswith(f"-> {out}\n")
    assert len(out.read_text().splitlines()) == 25


def test_input_error_is_one_line_and_exit_status_1(tone_corpus, tmp_path, capsys):
    arguments = ["--audio-dir", str(tone_corpus), "--out", str(tmp_path / "m.csv")]
    with pytest.raises(SystemExit) as end:
        cli.main(["prepare-corpus", "--corpus", "emovo", *arguments])

    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (1, "")
    (line,) = printed.err.splitlines()
    assert line.startswith("error: Actor_01/03-01-01-01-01-01-01.wav")
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Answer:
    text: str

    def __str__(self) -> str:
        return f"the answer is {self.text}"


def command(
    *,
    times: int = 1,
    error: bool = False,
    stop: bool = False,
    missing: str | None = None,
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
) -> Answer | None:
    """Answers.

    Args:
        times: How
            often.
        error: Whether to fail.
        stop: Whether to be stopped.
        missing: A package that is not installed.
        front_end: Checked settings.
    """
    if error:
        raise InputError("a.csv: has two\nlines; make it one.")
    if stop:
        raise KeyboardInterrupt
    if missing:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    return Answer(f"{times * '42'} at {front_end.hop_samples}") if times else None


def call(*arguments: str) -> None:
    cli.run_function(command, arguments, program="command")


def test_flags_come_from_the_signature(capsys):
    call("--times", "2", "--front-end.hop-samples", "128")
    call("--times", "0")

    assert capsys.readouterr().out == "the answer is 4242 at 128\n"


def test_help_joins_the_lines_of_a_docstring(capsys):
    with pytest.raises(SystemExit):
        call("--help")

    assert "How often. (default: 1)" in capsys.readouterr().out


@dataclass(frozen=True)
class Pace:
    """A pace.

    Attributes:
        steps: Steps, or
            0 for none.
    """

    steps: int = 0


def test_help_joins_lines_that_begin_with_a_number_or_code(capsys):
    def walk(*, pace: Pace = Pace()) -> None:  # noqa: B008 (frozen)
        """Walks for at most
        5 hours.

        Args:
            pace: How fast.
        """

    walk.__doc__ = inspect.cleandoc(walk.__doc__).replace("\n", "\n    ")  # as at module level
    with pytest.raises(SystemExit):
        cli.run_function(walk, ["--help"])

    printed = capsys.readouterr().out
    assert "Walks for at most 5 hours." in printed
    assert "Steps, or 0 for none. (default: 0)" in printed


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--error"], 1, "error: a.csv: has two lines; make it one.\n"),
        (["--stop"], 130, "stopped; earlier outputs are untouched"),
        (["--missing", "pandas"], 1, "error: pandas: this Python package is missing"),
        (["--front-end.hop-samples", "0"], 2, "between 1 and window_samples; received 0"),
    ],
)
def test_what_a_user_can_mend_ends_without_a_traceback(arguments, status, message, capsys):
    with pytest.raises(SystemExit) as end:
        call(*arguments)

    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (status, "")
    assert message in (text_of(printed.err) if status == 2 else printed.err)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["prepare-corpus", "--corpus", "folder", "--audio-dir", "", "--out", "x"], "audio_dir"),
        (["prepare-corpus", "--corpus", "folder", "--audio-dir=", "--out", "x"], "audio_dir"),
        (["build-graph", "--embeddings", "x", "--out", ""], "out"),
        (["fuse-embeddings", "--embeddings", "x", "", "--out", "x"], "embeddings"),
        (["predict", ""], "paths"),
    ],
)
def test_empty_path_is_not_the_working_folder(given, name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(given)

    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {name}: must not be empty")


MAPS = ["prepare-corpus", "--corpus", "folder", "--audio-dir", "x", "--out", "x", "--label-map"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([*MAPS, "joy", "x", "joy ", "y"], "label_map: 'joy' is there twice"),
        ([*MAPS, "joy", "x", "--label_map", "fear", "y"], "label_map: is there twice"),
        (["predict", "x.wav", "--threads=1", "--threads", "2"], "threads: is there twice"),
    ],
)
def test_what_is_given_twice_is_not_taken_once(given, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(given)

    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {words}")


@pytest.mark.parametrize("out", ["mine", "mine/within"])
def test_path_that_the_system_refuses_is_named(out, tmp_path, capsys):
    (tmp_path / "mine").write_text("a file")

    with pytest.raises(SystemExit) as end:
        cli.main(["sweep", "--config", "emodb", "--out", str(tmp_path / out)])

    printed = capsys.readouterr().err
    assert (end.value.code, printed.count("\n")) == (1, 1)
    assert printed.startswith(f"error: {tmp_path / out}: ")
    assert (tmp_path / "mine").read_text() == "a file"


def test_missing_package_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "ser_nsl.corpora.prepare", raising=False)

    with pytest.raises(SystemExit) as end:
        cli.main(["prepare-corpus", "--help"])

    assert end.value.code == 1
    assert re.search("pandas.*'ser-nsl\\[train\\]'", capsys.readouterr().err)


def test_missing_module_of_our_own_is_a_bug_and_stays_one(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "paint", cli.Command("no.such", "paints"))

    with pytest.raises(ModuleNotFoundError):
        cli.main(["paint"])


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "print", lambda *_: 1 / 0, raising=False)

    with pytest.raises(ZeroDivisionError):
        call()


def test_names_that_the_output_cannot_show_are_escaped_while_a_command_works(monkeypatch):
    def tell(*, name: str = "Ärger \udce9") -> None:
        """Tells a name."""
        print(name)

    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    cli.run_function(tell, [])
    stdout.flush()

    assert stdout.buffer.getvalue() == rb"\xc4rger \udce9" + b"\n"


def test_a_reader_that_stops_early_sees_no_traceback():
    commands = subprocess.run(
        f"{sys.executable} -m ser_nsl.cli predict --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
    )

    assert commands.stdout.startswith("usage: ser-nsl predict")
    assert commands.stderr == ""
