import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ser_nsl import cli
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.errors import InputError

TOOLS = Path(__file__).parents[1] / "tools"
SCRIPTS = sorted(TOOLS.glob("*.py"))


def run_script(path: Path, *arguments: str) -> None:
    """Runs a script as `python path arguments`, but in this process, to import but once."""
    before = sys.argv
    sys.argv = [str(path), *arguments]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_has_help(script, capsys):
    with pytest.raises(SystemExit) as end:
        run_script(script, "--help")

    printed = capsys.readouterr()
    assert end.value.code == 0
    assert printed.err == ""
    assert "usage: " in printed.out
    assert "-h, --help" in printed.out
    assert len(printed.out.splitlines()) > 8


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_refuses_unknown_flags(script, capsys):
    with pytest.raises(SystemExit) as end:
        run_script(script, "--no-such-flag", "3")

    printed = capsys.readouterr()
    assert end.value.code == 2
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert "usage: " in printed.err or "--help" in printed.err


def test_scripts_are_there():
    assert {path.stem for path in SCRIPTS} >= {
        "build_graph",
        "evaluate",
        "export_tflite",
        "extract_embeddings",
        "extract_features",
        "finetune_upstream",
        "pack_neighbors",
        "predict",
        "prepare_corpus",
        "run_pipeline",
        "train_downstream",
    }


def test_help_tells_types_defaults_and_texts(capsys):
    with pytest.raises(SystemExit):
        run_script(TOOLS / "extract_features.py", "--help")

    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Writes log Mel records of every clip." in printed
    assert "--clip-seconds {None}|FLOAT Length of every clip in seconds" in printed
    assert "--front-end.hop-samples INT Step from frame to frame. (default: 256)" in printed


@pytest.mark.parametrize(
    ("script", "choices"),
    [("prepare_corpus", "{speaker-independent,"), ("build_graph", "--splits [{train,val} ")],
)
def test_help_shows_choices(script, choices, capsys):
    with pytest.raises(SystemExit):
        run_script(TOOLS / f"{script}.py", "--help")

    assert choices in capsys.readouterr().out


def test_script_prints_what_was_made(tone_corpus, tmp_path, capsys):
    out = tmp_path / "manifest.csv"
    arguments = ["--corpus", "ravdess", "--audio-dir", str(tone_corpus), "--out", str(out)]
    run_script(TOOLS / "prepare_corpus.py", *arguments, "--split.seed", "1", "--leave-out", "anger")

    printed = capsys.readouterr().out
    assert printed.startswith("prepare_corpus: clips 24, speakers 6, ")
    assert printed.endswith(f"-> {out}\n")
    assert len(out.read_text().splitlines()) == 25


def test_input_error_is_one_line_and_exit_status_1(tone_corpus, tmp_path, capsys):
    arguments = ["--audio-dir", str(tone_corpus), "--out", str(tmp_path / "m.csv")]
    with pytest.raises(SystemExit) as end:
        run_script(TOOLS / "prepare_corpus.py", "--corpus", "emovo", *arguments)

    printed = capsys.readouterr()
    assert end.value.code == 1
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: Actor_01/03-01-01-01-01-01-01.wav: the name must have the form")
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Answer:
    text: str

    def __str__(self) -> str:
        return f"the answer is {self.text}"


def command(
    *,
    times: int = 1,
    fail: bool = False,
    stop: bool = False,
    front_end: FrontEndConfig = FrontEndConfig(),  # noqa: B008 (frozen)
) -> Answer:
    """Answers.

    Args:
        times: How
            often.
        fail: Whether to fail.
        stop: Whether to be stopped.
        front_end: Checked settings.
    """
    if fail:
        raise InputError("a.csv: has two\nlines; make it one.")
    if stop:
        raise KeyboardInterrupt
    return Answer(f"{times * '42'} at {front_end.hop_samples}")


def call(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    cli.run(command)


def test_flags_come_from_the_signature(monkeypatch, capsys):
    call(monkeypatch, "--times", "2", "--front-end.hop-samples", "128")

    assert capsys.readouterr().out == "the answer is 4242 at 128\n"


def test_help_breaks_lines_where_it_must_only(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")

    assert "How often. (default: 1)" in capsys.readouterr().out


def test_errors_of_several_lines_are_printed_in_one(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "--fail")

    assert end.value.code == 1
    assert capsys.readouterr() == ("", "error: a.csv: has two lines; make it one.\n")


def test_being_stopped_says_what_is_safe(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "--stop")

    assert end.value.code == 130
    assert capsys.readouterr().err.startswith("stopped; earlier outputs are untouched")


def test_setting_out_of_range_names_the_rule(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "--front-end.hop-samples", "0")

    assert end.value.code == 2
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "hop_samples must be between 1 and window_samples; received 0" in printed


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "print", lambda *_: 1 / 0, raising=False)

    with pytest.raises(ZeroDivisionError):
        call(monkeypatch)
