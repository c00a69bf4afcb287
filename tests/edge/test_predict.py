import contextlib
import csv
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.edge import Recognizer, microphone

PREDICT = Path(__file__).parents[2] / "tools" / "predict.py"
RATE = 16_000
LENGTH = 12  # of the clips that the recogniser hears
LABELS = [f"emotion{i}" for i in range(LENGTH)]
WAVE = np.random.default_rng(0).uniform(-1, 1, LENGTH)


def write_clip(path: Path, waveform: np.ndarray = WAVE) -> Path:
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    return path


def command(*arguments: object) -> list[str]:
    return list(map(str, [sys.executable, PREDICT, *arguments]))


def predict(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True)


def errors(stderr: str) -> list[str]:
    """Lines of standard error but the runtime's own notes."""
    return [line for line in stderr.splitlines() if not line.startswith("INFO: ")]


def test_shows_a_table_and_names_bad_files(path, tmp_path):
    loud = np.zeros(LENGTH)
    loud[3] = 9.9
    files = [
        write_clip(tmp_path / "a.wav", loud),
        tmp_path / "missing.wav",
        write_clip(tmp_path / "unscaled.wav", WAVE * 32768),
        write_clip(tmp_path / "longer name.wav"),
    ]
    done = predict("--model", path, *files)
    header, first, second = done.stdout.splitlines()
    missing, unscaled = errors(done.stderr)

    assert done.returncode == 1
    assert header.split() == ["file", "emotion", *LABELS]
    assert first.startswith(str(files[0]))
    assert first.split()[-LENGTH - 1] == "emotion3"
    assert first.split()[-LENGTH + 3] == "99.9%"
    assert second.startswith(str(files[3]))
    assert len(header) == len(first) == len(second)
    assert missing.startswith(f"error: {files[1]}: does not exist")
    assert unscaled.startswith(f"error: {files[2]}: samples: must lie in [-1, 1]")


def test_shows_no_header_without_a_row(path, tmp_path):
    done = predict("--model", path, tmp_path / "missing.wav")

    assert done.stdout == ""
    assert errors(done.stderr) == [
        f"error: {tmp_path}/missing.wav: does not exist; check the path."
    ]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_folders_for_programs(path, tmp_path, recognizer, form, monkeypatch):
    names = ["a.wav", "b, c.WAV", "ü.wav"]
    (tmp_path / "clips").mkdir()
    for i, name in enumerate(names):
        write_clip(tmp_path / "clips" / name, WAVE / (i + 1))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = predict("--model", path, "--format", form, tmp_path / "clips")
    if form == "json":
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        found = [row["probabilities"] for row in rows]
    else:
        rows = list(csv.DictReader(done.stdout.splitlines()))
        found = [{label: float(row[label]) for label in LABELS} for row in rows]
        names[2] = r"\xfc.wav"

    assert done.returncode == 0
    assert [row["file"] for row in rows] == [f"{tmp_path}/clips/{name}" for name in names]
    for i, probabilities in enumerate(found):
        assert probabilities == pytest.approx(recognizer.predict(WAVE / (i + 1), RATE), abs=1e-6)
        assert rows[i]["emotion"] == max(probabilities, key=probabilities.get)


def test_names_a_bad_recogniser_or_an_empty_folder_in_one_line(path, tmp_path):
    clip = write_clip(tmp_path / "a.wav")
    (tmp_path / "empty").mkdir()
    bad = predict("--model", clip, clip)
    empty = predict("--model", path, clip, tmp_path / "empty")

    assert predict("--model", path, "--threads", 2, clip).returncode == 0
    assert (bad.returncode, bad.stdout) == (empty.returncode, empty.stdout) == (1, "")
    assert errors(bad.stderr)[0].startswith(f"error: {clip}: is not a TFLite file")
    assert errors(empty.stderr)[0].startswith(f"error: {tmp_path}/empty: holds no audio file")
    assert len(errors(bad.stderr)) == len(errors(empty.stderr)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either files and folders or --microphone"),
        (["--microphone", "a.wav"], "give either files and folders or --microphone"),
        (["--follow", "a.wav"], "--follow needs a folder"),
        (["--microphone", "--follow"], "--follow needs a folder"),
    ],
)
def test_command_lines_that_say_nothing(arguments, message):
    done = predict("--model", "recogniser.tflite", *arguments)

    assert done.returncode == 2
    assert done.stderr.endswith(f"error: {message}\n")


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen]:
    """The script, which is ended if a test fails."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("cut_off", [False, True])
def test_follows_a_folder_until_ctrl_c(path, tmp_path, cut_off):
    folder = tmp_path / "clips"
    folder.mkdir()
    first = write_clip(tmp_path / "first.wav")
    there = write_clip(folder / "there.wav")
    with running("--model", path, "--format", "json", "--follow", folder, first) as process:
        assert json.loads(process.stdout.readline())["file"] == str(first)
        assert json.loads(process.stdout.readline())["file"] == str(there)
        if cut_off:
            (folder / "bad.wav").write_bytes(first.read_bytes()[:-8])
        shutil.copy(first, folder / "new.wav")
        assert json.loads(process.stdout.readline())["file"] == str(folder / "new.wav")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=10)

    assert process.returncode == cut_off
    assert stdout == ""
    assert (
        errors(stderr)
        == [f"error: {folder}/bad.wav: is cut off in the middle; copy it again or remove it."]
        * cut_off
    )


def test_ends_quietly_when_nobody_reads_on(path, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "a.wav")
    with running("--model", path, "--follow", folder) as process:
        assert process.stdout.readline().startswith("file")
        process.stdout.close()
        write_clip(folder / "b.wav")
        process.wait(timeout=10)
        assert errors(process.stderr.read()) == []


def listen(monkeypatch, *arguments: object) -> types.SimpleNamespace:
    """Runs the script in this process with a microphone that records 24 samples, then is gone."""

    @contextlib.contextmanager
    def open_microphone():
        def chunks():
            yield WAVE[:7, np.newaxis], False
            yield np.concatenate([WAVE[7:], WAVE])[:, np.newaxis], True
            raise KeyboardInterrupt

        yield microphone.Microphone("A microphone", RATE, chunks())

    monkeypatch.setattr(microphone, "open_microphone", open_microphone)
    monkeypatch.setattr(sys, "argv", [str(PREDICT), *map(str, arguments)])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PREDICT), run_name="__main__")
    return stop.value.code


def test_listens_to_the_microphone_until_ctrl_c(path, monkeypatch, capsys):
    flags = ["--hop-seconds", LENGTH / RATE, "--smoothing-seconds", 0, "--format", "json"]
    status = listen(monkeypatch, "--model", path, "--microphone", *flags)
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]

    assert status == 0
    assert [row["seconds"] for row in rows] == [0.001, 0.002]  # 0.75 and 1.5 ms
    expected = Recognizer(path).predict(WAVE, RATE)
    for row in rows:
        assert row["probabilities"] == pytest.approx(expected, abs=1e-6)
    told, lost = errors(captured.err)
    assert told == "listening to A microphone, each row tells of the last 0.00075 s; Ctrl-C ends"
    assert lost.startswith("warning: audio was lost")


def test_bad_hop_in_one_line(path, monkeypatch, capsys):
    status = listen(monkeypatch, "--model", path, "--microphone", "--hop-seconds", 0)

    assert status.startswith("error: hop_seconds: must be at least one sample")
    assert capsys.readouterr().out == ""


def test_without_a_microphone_in_one_line(path, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise ImportError('none')")
    done = subprocess.run(
        command("--model", path, "--microphone"),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )

    assert done.returncode == 1
    (error,) = errors(done.stderr)
    assert error.startswith("error: microphone: needs the package sounddevice")
