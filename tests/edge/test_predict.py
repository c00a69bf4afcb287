import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.audio.decode import decode
from ser_nsl.cli import run
from ser_nsl.edge import Adaptation, Recognizer, average, clips
from ser_nsl.edge import predict as module
from ser_nsl.edge.microphone import Microphone
from ser_nsl.edge.predict import predict
from ser_nsl.errors import InputError

RATE = 16_000


@pytest.fixture
def write_clip(tmp_path, wave):
    def write(name: str, waveform: np.ndarray = wave) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, waveform, RATE, subtype="FLOAT")
        return path

    return write


def errors(stderr: str) -> list[str]:
    """Lines of standard error without the runtime's own notes."""
    return [line for line in stderr.splitlines() if not line.startswith("INFO: ")]


def test_shows_a_table_and_names_bad_files(path, tmp_path, write_clip, wave, capsys):
    loud = np.zeros(len(wave))
    loud[3] = 9.9
    files = [
        write_clip("a.wav", loud),
        tmp_path / "missing.wav",
        write_clip("unscaled.wav", wave * 32768),
        write_clip("longer\nname.wav"),
        tmp_path / "empty",
    ]
    files[-1].mkdir()
    with pytest.raises(SystemExit) as end:
        run("predict", [*map(str, files), "--model", str(path), "--threads", "2"])
    printed = capsys.readouterr()
    header, first, second = printed.out.splitlines()
    empty, missing, unscaled = errors(printed.err)

    assert end.value.code == 1
    assert header.split() == ["file", "emotion", *(f"emotion{i}" for i in range(12))]
    assert first.startswith(str(files[0]))
    assert first.split()[1] == "emotion3"
    assert first.split()[5] == "99.9%"
    assert second.startswith(str(files[3]).replace("\n", r"\n"))
    assert len(header) == len(first) == len(second)
    assert empty.startswith(f"error: {files[4]}: holds no audio file")
    assert missing.startswith(f"error: {files[1]}: does not exist")
    assert unscaled.startswith(f"error: {files[2]}: samples: must lie in [-1, 1]")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_folders_for_programs(path, recognizer, write_clip, wave, form, monkeypatch):
    names = ["a.wav", "b, c.WAV", "ü.wav"]
    folder = [write_clip(f"clips/{name}", wave / (i + 1)) for i, name in enumerate(names)][0].parent
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    run("predict", [str(folder), "--model", str(path), "--format", form])
    lines = stdout.buffer.getvalue().decode().splitlines()
    if form == "json":
        rows = [json.loads(line) for line in lines]
        found = [row["probabilities"] for row in rows]
    else:
        rows = list(csv.DictReader(lines))
        found = [{label: float(row[label]) for label in recognizer.labels} for row in rows]
        names[2] = r"\xfc.wav"

    assert [row["file"] for row in rows] == [f"{folder}/{name}" for name in names]
    for i, probabilities in enumerate(found):
        assert probabilities == pytest.approx(recognizer.predict(wave / (i + 1), RATE), abs=1e-6)
        assert rows[i]["emotion"] == max(probabilities, key=probabilities.get)


def test_recordings_are_heard_to_their_end(path, recognizer, write_clip, wave, capsys):
    """Two windows of 12 samples at a distance of 6 or less cover 16; then silence."""
    clip = write_clip("long.wav", np.concatenate([wave, wave[:4]]))
    quiet = write_clip("quiet.wav", np.zeros(40))

    predict((clip, quiet), model=str(path), format="json", whole=False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    predict((clip, quiet), model=str(path), format="json")
    printed = capsys.readouterr()
    mean, silent = [json.loads(line) for line in printed.out.splitlines()]

    samples = np.concatenate([wave, wave[:4]])
    expected = [recognizer.predict(samples[start : start + 12], RATE) for start in (0, 4)]
    assert [row["probabilities"] for row in rows[:2]] == [
        pytest.approx(e, abs=1e-6) for e in expected
    ]
    assert [(row["from"], row["to"]) for row in rows[:2]] == [(0.0, 0.001), (0.0, 0.001)]
    for label, value in mean["probabilities"].items():
        assert value == pytest.approx((expected[0][label] + expected[1][label]) / 2, abs=1e-6)
    assert {row["emotion"] for row in rows[2:]} == {"no speech"} == {silent["emotion"]}
    assert errors(printed.err) == []


@pytest.mark.parametrize("whole", [True, False])
def test_doubt_is_an_answer(whole, flatbuffer, pack_all, write_clip, wave, tmp_path, capsys):
    path = tmp_path / "doubting.tflite"
    path.write_bytes(pack_all(flatbuffer, abstain_below=0.5))
    loud = np.zeros(len(wave))
    loud[3] = 9

    clips = write_clip("faint.wav"), write_clip("loud.wav", loud)
    predict(clips, model=str(path), format="json", whole=whole)

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["emotion"] for row in rows] == ["not sure", "emotion3"]


def test_a_file_learns_the_speaker(adaptable, write_clip, wave, tmp_path, capsys):
    """What was heard in one run is known in the next; the other file of the folder is bad."""
    write_clip("clips/a.wav", 2 * wave)
    write_clip("clips/b.wav", np.concatenate([wave, wave[:4]]))
    write_clip("clips/bad.wav", 99 * wave)
    recognizer, file = Recognizer(adaptable), tmp_path / "anna.json"
    adaptation = Adaptation(recognizer)
    for run_number in (1, 2):
        with pytest.raises(SystemExit):
            predict((tmp_path / "clips",), model=str(adaptable), format="json", adapt=file)
        printed = capsys.readouterr()
        rows = [json.loads(line) for line in printed.out.splitlines()]

        for row in rows:
            windows = recognizer.hear(*decode(Path(row["file"])), adaptation=adaptation)
            assert row["probabilities"] == pytest.approx(average(windows), abs=1e-6)
        assert len(rows) == 2
        assert Adaptation.load(file, recognizer).seconds == pytest.approx(run_number * 28 / RATE)
        assert f"note: {file}: 0.0 s of speech" in printed.err
    np.testing.assert_allclose(Adaptation.load(file, recognizer).sum, adaptation.sum)


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_file_of_the_speaker_that_cannot_be_used(
    adaptable, write_clip, tmp_path, capsys, content
):
    file = tmp_path / "missing" / "anna.json"
    if content:
        file = tmp_path / "anna.json"
        file.write_text(content)

    with pytest.raises(InputError, match="anna.json: "):
        predict((write_clip("clip.wav"),), model=str(adaptable), adapt=file)
    assert capsys.readouterr().out == ""  # before the work


def test_the_microphone_learns_the_speaker_until_ctrl_c(adaptable, microphone, wave, tmp_path):
    file, hop_seconds = tmp_path / "anna.json", len(wave) / RATE
    predict(model=str(adaptable), microphone=True, hop_seconds=hop_seconds, adapt=file)

    assert Adaptation.load(file, Recognizer(adaptable)).seconds == pytest.approx(24 / RATE)


@pytest.mark.parametrize(
    ("names", "flags", "message"),
    [
        (["clip.wav"], {"model": "clip.wav"}, "clip.wav: is not a TFLite file"),
        (["clip.wav"], {"follow": True}, "follow: needs a folder"),
        ([], {}, "paths: give either"),
        (["clip.wav"], {"microphone": True}, "paths: give either"),
        ([], {"microphone": True, "follow": True}, "paths: give either"),
        (["clip.wav"], {"hop_seconds": 1.0}, "hop_seconds: has no effect"),
        (["."], {"follow": True, "smoothing_seconds": 0.0}, "smoothing_seconds: has no effect"),
        ([], {"microphone": True, "whole": False}, "whole: has no effect"),
    ],
)
def test_arguments_that_cannot_be_used(names, flags, message, write_clip, monkeypatch, capsys):
    monkeypatch.chdir(write_clip("clip.wav").parent)

    with pytest.raises(InputError, match=message):
        predict(tuple(map(Path, names)), **flags)
    assert capsys.readouterr().out == ""


def test_follows_a_folder_until_ctrl_c(path, write_clip, monkeypatch, capsys):
    first, old = write_clip("first.wav"), write_clip("clips/old.wav")
    polls = iter(range(5))

    def sleep(_: float) -> None:
        poll = next(polls)
        if poll == 1:
            (old.parent / "bad.wav").write_bytes(first.read_bytes()[:-8])
            write_clip("clips/new.wav")
        if poll == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(clips.time, "sleep", sleep)
    with pytest.raises(SystemExit) as end:
        predict((old.parent, first), model=str(path), format="json", follow=True)
    printed = capsys.readouterr()

    assert end.value.code == 1  # because of the bad clip
    names = [Path(json.loads(line)["file"]).name for line in printed.out.splitlines()]
    assert names == ["first.wav", "old.wav", "new.wav"]
    (error,) = errors(printed.err)
    assert error.startswith(f"error: {old.parent}/bad.wav: is cut off")


@pytest.fixture
def microphone(monkeypatch, wave) -> None:
    """Records 24 samples, then Ctrl-C is pressed."""

    @contextlib.contextmanager
    def open_microphone() -> Iterator[Microphone]:
        def chunks():
            yield wave[:7, np.newaxis], False
            yield np.concatenate([wave[7:], wave])[:, np.newaxis], True
            raise KeyboardInterrupt

        yield Microphone("A microphone", RATE, chunks())

    monkeypatch.setattr(module, "open_microphone", open_microphone)


def test_listens_to_the_microphone_until_ctrl_c(path, recognizer, microphone, wave, capsys):
    predict(model=str(path), microphone=True, hop_seconds=len(wave) / RATE, smoothing_seconds=0)
    table = capsys.readouterr()
    predict(model=str(path), microphone=True, hop_seconds=len(wave) / RATE, format="json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert table.out.splitlines()[0].startswith("seconds")
    assert [row["seconds"] for row in rows] == [0.001, 0.002]  # 0.75 and 1.5 ms
    for row in rows:
        expected = recognizer.predict(wave, RATE)
        assert row["probabilities"] == pytest.approx(expected, abs=1e-6)
    listening, lost = errors(table.err)
    assert "A microphone" in listening
    assert "0.00075 s" in listening
    assert lost.startswith("warning: audio was lost")


def test_bad_hop(path, microphone, capsys):
    with pytest.raises(InputError, match="hop_seconds: .*at least one sample"):
        predict(model=str(path), microphone=True, hop_seconds=0)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["ctrl-c", "head"])
def test_the_command_ends_quietly(path, write_clip, ending):
    clip = write_clip("clips/a.wav")
    command = [sys.executable, "-m", "ser_nsl.cli", "predict", "--model", path, "--follow"]
    with subprocess.Popen(
        list(map(str, [*command, clip.parent])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    ) as process:
        try:
            assert process.stdout.readline().startswith("file")
            if ending == "ctrl-c":
                process.send_signal(signal.SIGINT)
            else:
                process.stdout.close()
                write_clip("clips/b.wav")
            assert errors(process.stderr.read()) == []
            assert process.wait() == (0 if ending == "ctrl-c" else 1)
        finally:
            process.kill()


def test_device_side_needs_no_training_side():
    program = "import sys, ser_nsl.edge.predict, ser_nsl.edge.models, ser_nsl.web.serve"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    training_side = "flatbuffers keras librosa mediapipe neural_structured_learning omegaconf "
    training_side += "pandas requests scipy sklearn tensorflow tf_keras tqdm transformers tyro"
    assert "soundfile" in loaded
    assert not loaded & set(training_side.split())
