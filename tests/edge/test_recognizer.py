import configparser
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import soundfile
import soxr
from mediapipe.tasks.metadata import schema_py_generated as schema
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ser_nsl.audio.clip import read_audio
from ser_nsl.edge import RUNTIMES, Recognizer
from ser_nsl.errors import InputError

RATE = 16_000
LENGTH = 12  # of the input of the recogniser
LABELS = [f"emotion{i}" for i in range(LENGTH)]
WAVE = np.random.default_rng(0).uniform(-1, 1, LENGTH)


def assert_input(probabilities: dict[str, float], waveform: np.ndarray) -> None:
    """Undoes the softmax, except for the constant that it hides."""
    logits = np.log(list(probabilities.values()))
    np.testing.assert_allclose(logits - logits[0], waveform - waveform[0], atol=1e-5)


def assert_refused(path, message: str, **settings) -> None:
    with pytest.raises(InputError, match=message) as error:
        Recognizer(path, **settings)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_probabilities_by_label_in_both_runtimes(path, runtime):
    recognizer = Recognizer(str(path), threads=2, runtime=runtime)
    probabilities = recognizer.predict(WAVE, RATE)

    assert recognizer.runtime == runtime
    assert type(recognizer._interpreter).__module__.startswith(runtime)
    assert (recognizer.name, recognizer.sample_rate_hz) == ("Echo", RATE)
    assert recognizer.clip_samples == LENGTH
    assert list(probabilities) == list(recognizer.labels) == LABELS
    assert sum(probabilities.values()) == pytest.approx(1)
    assert_input(probabilities, WAVE)


def test_runtime_is_the_first_that_is_installed(path, monkeypatch):
    assert Recognizer(path).runtime == "ai_edge_litert"

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert Recognizer(path).runtime == "tflite_runtime"
    assert_refused(path, "runtime: ai_edge_litert is not inst", runtime="ai_edge_litert")

    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    assert_refused(path, "is not installed; .*`pip install ai-edge-litert`.* 'numpy<2'`")
    assert_refused(path, "runtime: must be .*; received tensorflow", runtime="tensorflow")


def test_answers_are_told_from_doubt_and_no_speech(flatbuffer, pack_all, tmp_path):
    path = tmp_path / "doubting.tflite"
    path.write_bytes(pack_all(flatbuffer, abstain_below=0.5))
    shares = {"anger": 0.5, "joy": 0.3, "no speech": 0.2}

    assert Recognizer(path).answer(shares) == "anger"
    assert Recognizer(path).answer({**shares, "anger": 0.49}) == "not sure"
    assert Recognizer(path).answer({"anger": 0.3, "joy": 0.3, "no speech": 0.4}) == "no speech"
    assert Recognizer(path).answer(None) == "no speech"


def test_older_files_are_always_sure(recognizer):
    assert recognizer.answer({"anger": 0.2, "joy": 0.1}) == "anger"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", {"ai-edge-litert": ">=1.0", "numpy": ">=1.23"}),
        ("aarch64", {"ai-edge-litert": ">=1.0", "numpy": ">=1.23"}),
        ("armv7l", {"tflite-runtime": ">=2.14", "numpy": "<2,>=1.23"}),
    ],
)
def test_the_base_install_brings_the_fastest_runtime_that_has_a_build(python, machine, expected):
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "setup.cfg")
    lines = settings["options"]["install_requires"].splitlines()
    needed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    place = {"python_version": python, "platform_machine": machine, "platform_system": "Linux"}

    found = {}
    for each in needed:
        if each.marker is None or each.marker.evaluate(place):
            found[each.name] = found.get(each.name, SpecifierSet()) & each.specifier
    chosen = ("ai-edge-litert", "tflite-runtime", "numpy")
    assert {name: found[name] for name in chosen if name in found} == expected


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (WAVE.astype(np.float32), WAVE),
        (WAVE[:5], np.concatenate([WAVE[:5], WAVE[:5], WAVE[:2]])),
        (np.concatenate([WAVE, [0.9, 0.9]]), WAVE),
        (np.stack([WAVE, WAVE / 2], axis=1), WAVE * 0.75),
        (WAVE[:, np.newaxis], WAVE),
        (np.round(WAVE * 32767).astype(np.int16), np.round(WAVE * 32767) / 32768),
        (list(WAVE), WAVE),
    ],
    ids=["float32", "short", "long", "stereo", "one-channel", "int16", "list"],
)
def test_samples_are_prepared(recognizer, samples, expected):
    assert_input(recognizer.predict(samples, RATE), expected)


def test_other_rates_are_resampled_as_in_training(recognizer, tmp_path):
    samples = np.random.default_rng(2).integers(-9000, 9000, (4000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "clip.wav", samples, 44_100)

    assert_input(recognizer.predict(samples, 44_100), read_audio(tmp_path / "clip.wav")[:LENGTH])


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 44_100), (600, 8_000)])
def test_clips_from_a_tenth_of_a_second_to_ten_minutes(recognizer, seconds, rate):
    start = np.random.default_rng(3).uniform(-0.5, 0.5, 800).astype(np.float32)
    probabilities = recognizer.predict(np.resize(start, int(seconds * rate)), rate)

    assert_input(probabilities, soxr.resample(start, rate, RATE)[:LENGTH])


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), RATE, "at least one sample at 16000 Hz; received 0 samples"),
        (np.zeros(2), 48_000, "at least one sample at 16000 Hz; received 2 samples"),
        (np.full(9, np.nan), RATE, "NaN or infinite"),
        (np.full(9, -np.inf), RATE, "NaN or infinite"),
        (np.full(9, 1e300), RATE, r"a peak of 1e\+300"),
        (WAVE * np.float32(-32768), RATE, "a peak of 3"),
        (np.zeros(9, np.int32), RATE, "float in .* or int16; received int32"),
        (np.float32(0.5), RATE, r"shape \(samples,\) .*received \(\)"),
        (np.zeros((2, 99)), RATE, r"shape .*1 to 32 channels; received \(2, 99\)"),
        (np.zeros((9, 0)), RATE, r"shape .*received \(9, 0\)"),
        (np.zeros((9, 1, 1)), RATE, r"shape .*received \(9, 1, 1\)"),
        (b"\0\0", RATE, r"shape .*received \(\)"),
        (WAVE, 44.1, "sample_rate_hz: .* from 1000 to 1000000; received 44.1"),
        (WAVE, float("inf"), "sample_rate_hz: .*received inf"),
        (WAVE, float("nan"), "sample_rate_hz: .*received nan"),
        (WAVE, "16000", "sample_rate_hz: must be a number.*received '16000'"),
    ],
)
def test_bad_samples(recognizer, samples, rate, message):
    with pytest.raises(InputError, match=message) as error:
        recognizer.predict(samples, rate)

    assert len(str(error.value).splitlines()) == 1


def test_bad_files(flatbuffer, convert, pack, pack_all, tmp_path):
    settings = json.dumps({"format_version": 1, "name": "Echo", "sample_rate_hz": RATE})
    good = pack_all(flatbuffer)
    bad = {
        "is not a TFLite file": b"RIFF....WAVE",
        "is not a TFLite file; ": b"",
        "holds no readable .*File is not a zip": flatbuffer,
        "holds no readable .*cut off": good[:-40],
        "holds no readable .*named 'labels.txt'": pack(flatbuffer, recogniser_json=settings),
        "holds no readable .*recogniser.json": pack(flatbuffer, labels_txt="a"),
        "holds no readable .*Expecting": pack(flatbuffer, labels_txt="a", recogniser_json="?"),
        "holds no readable .*must be int": pack(flatbuffer, labels_txt="a", recogniser_json="[]"),
        "holds no readable .*clip_samples": pack(
            flatbuffer, labels_txt="a", recogniser_json=settings
        ),
        "holds no readable .*sample_rate_hz: .*received 0": pack_all(flatbuffer, sample_rate_hz=0),
        "format 2, this release reads up to 1": pack_all(flatbuffer, format_version=2),
        "format 9, this release": pack(flatbuffer, recogniser_json='{"format_version": 9}'),
        "typical in recogniser.json must be 12 finite.*-1]; exp": pack_all(
            flatbuffer, typical=[-1]
        ),
        "typical in .*received 'low'": pack_all(flatbuffer, typical="low"),
        "typical in .*nan": pack_all(flatbuffer, typical=[-1] * 11 + [math.nan]),
        "typical in .*True": pack_all(flatbuffer, typical=[-1] * 11 + [True]),
        "typical in .*0000": pack_all(flatbuffer, typical=[-1] * 11 + [10**400]),
        "abstain_below in .*0 to 1; received 'x'": pack_all(flatbuffer, abstain_below="x"),
        "abstain_below in .*None": pack_all(flatbuffer, abstain_below=None),
        "abstain_below in .*1.5": pack_all(flatbuffer, abstain_below=1.5),
        "abstain_below in .*nan": pack_all(flatbuffer, abstain_below=math.nan),
        "name in .*text on one line; received 5": pack_all(flatbuffer, name=5),
        "name in .*received 'a.*b'": pack_all(flatbuffer, name="a\x1b[2Jb"),
        "clip_samples in .*whole number; received '12'": pack_all(flatbuffer, clip_samples="12"),
        "sample_rate_hz in .*received 16000.5": pack_all(flatbuffer, sample_rate_hz=16000.5),
        "labels.txt must have a name in each line": pack_all(flatbuffer, ["", *LABELS[1:]]),
        r"labels.txt must have .*x1b": pack_all(flatbuffer, ["\x1b[2J", *LABELS[1:]]),
        r"one input .*\(1, 13\).*\(1, 12\)": pack_all(flatbuffer, clip_samples=13),
        r"one output .*\(1, 11\).*\(1, 12\)": pack_all(flatbuffer, [*LABELS[1:], LABELS[1]]),
        r"one output .*\(1, 0\)": pack_all(flatbuffer, []),
        "runtime cannot run it": pack_all(flatbuffer[:8] + bytes(300)),
        "runtime cannot run it .*lacks data": pack_all(without_constants(convert)),
        "is damaged .*'emotion0': nan": pack_all(convert(lambda wave: wave * np.nan, LENGTH)),
        "is damaged before labels.txt; copy": pack_all(flatbuffer, model_sha256=64 * "0"),
    }
    for message, content in bad.items():
        (tmp_path / "bad.tflite").write_bytes(content)
        assert_refused(tmp_path / "bad.tflite", f"bad.tflite: .*{message}")
    assert_refused(tmp_path / "none.tflite", "none.tflite: cannot be read .*No such file")
    with (tmp_path / "upstream.safetensors").open("wb") as file:
        file.truncate(2**42)  # more than any memory
    assert_refused(tmp_path / "upstream.safetensors", "is not a TFLite file")


def without_constants(convert) -> bytes:
    """A model whose constants were lost, as where a part of the file is zero."""
    model = schema.ModelT.InitFromPackedBuf(convert(lambda wave: wave * np.arange(LENGTH), LENGTH))
    for buffer in model.buffers:
        buffer.data = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_damaged_settings_never_crash(flatbuffer, pack_all, tmp_path):
    good = np.frombuffer(pack_all(flatbuffer), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        bad = good.copy()
        bad[random.integers(len(flatbuffer), len(bad))] = random.integers(256)
        bad.tofile(tmp_path / "bad.tflite")
        try:
            Recognizer(tmp_path / "bad.tflite")
        except InputError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_operators_that_the_runtime_does_not_know(flatbuffer, pack_all, tmp_path, runtime):
    model = schema.ModelT.InitFromPackedBuf(flatbuffer)
    model.operatorCodes[0].version = 99
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "new.tflite").write_bytes(pack_all(bytes(builder.Output())))

    assert_refused(tmp_path / "new.tflite", "new.tflite: .*version '99'", runtime=runtime)


@pytest.mark.parametrize("threads", [0, 1.5, "2", 100_000])
def test_bad_threads(path, threads):
    assert_refused(path, f"threads: must be an integer .* received {threads!r}", threads=threads)


def test_threads_take_turns(recognizer):
    """Each gets the answer for its own clip."""
    clips = np.random.default_rng(0).normal(0, 0.3, (64, recognizer.clip_samples))
    expected = [recognizer.predict(clip, recognizer.sample_rate_hz) for clip in clips]

    with ThreadPoolExecutor(8) as pool:
        rates = [recognizer.sample_rate_hz] * len(clips)
        found = list(pool.map(recognizer.predict, clips, rates))

    assert found == expected


def test_channels_that_cancel_each_other_are_refused_in_recordings_too(recognizer):
    with pytest.raises(InputError, match="the two channels cancel each other out"):
        recognizer.hear(np.stack([WAVE, -WAVE], axis=1), RATE)
