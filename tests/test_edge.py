import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from ser_nsl.audio import read_audio
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError

PREDICT = Path(__file__).parents[1] / "tools" / "predict.py"
RATE = 16_000
LENGTH = 12
LABELS = [f"emotion{i}" for i in range(LENGTH)]
SETTINGS = {
    "format_version": 1,
    "name": "Echo",
    "sample_rate_hz": RATE,
    "clip_samples": LENGTH,
}


@pytest.fixture(scope="module")
def flatbuffer() -> bytes:
    """A model whose logits are the waveform, so that its answer shows what it has heard."""
    echo = tf.function(tf.nn.softmax, input_signature=[tf.TensorSpec((1, LENGTH), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([echo.get_concrete_function()])
    return converter.convert()


def pack(flatbuffer: bytes, **entries: str) -> bytes:
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in entries.items():
            archive.writestr(name.replace("_", "."), text)
    return file.getvalue()


def pack_all(flatbuffer: bytes, labels=LABELS, **changed) -> bytes:
    return pack(
        flatbuffer, labels_txt="\n".join(labels), recogniser_json=json.dumps(SETTINGS | changed)
    )


@pytest.fixture
def path(flatbuffer, tmp_path) -> Path:
    path = tmp_path / "echo.tflite"
    path.write_bytes(pack_all(flatbuffer))
    return path


@pytest.fixture
def recognizer(path) -> Recognizer:
    return Recognizer(path)


def assert_heard(probabilities: dict[str, float], waveform: np.ndarray) -> None:
    """Undoes the softmax, but for the constant that it hides."""
    logits = np.log(list(probabilities.values()))
    np.testing.assert_allclose(logits - logits[0], waveform - waveform[0], atol=1e-5)


WAVE = np.random.default_rng(0).uniform(-1, 1, LENGTH)


@pytest.mark.parametrize("missing", [None, "ai_edge_litert.interpreter"])
def test_probabilities_by_label_in_both_runtimes(path, missing, monkeypatch):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    recognizer = Recognizer(str(path), threads=2)
    probabilities = recognizer.predict(WAVE, RATE)

    runtime = "tflite_runtime" if missing else "ai_edge_litert"
    assert type(recognizer._interpreter).__module__.startswith(runtime)
    assert (recognizer.name, recognizer.sample_rate_hz, recognizer.clip_samples) == (
        "Echo",
        RATE,
        LENGTH,
    )
    assert list(probabilities) == list(recognizer.labels) == LABELS
    assert sum(probabilities.values()) == pytest.approx(1)
    assert_heard(probabilities, WAVE)


def test_no_runtime(path, monkeypatch):
    for runtime in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, runtime, None)

    with pytest.raises(InputError, match="^no TFLite runtime .* `pip install ai-edge-litert`"):
        Recognizer(path)


@pytest.mark.parametrize(
    ("samples", "heard"),
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
def test_samples_are_prepared(recognizer, samples, heard):
    assert_heard(recognizer.predict(samples, RATE), heard)


def test_other_rates_are_resampled(recognizer):
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * LENGTH).astype(np.float32)

    assert_heard(recognizer.predict(samples, 48_000), soxr.resample(samples, 48_000, RATE))


def test_hears_what_training_heard(recognizer, tmp_path):
    samples = np.random.default_rng(2).integers(-9000, 9000, (4000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "clip.wav", samples, 44_100)

    assert_heard(recognizer.predict(samples, 44_100), read_audio(tmp_path / "clip.wav")[:LENGTH])


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), RATE, "at least one sample at 16000 Hz; received 0 samples"),
        (np.zeros(2), 48_000, "at least one sample at 16000 Hz; received 2 samples"),
        (np.full(9, np.nan), RATE, "NaN or infinite"),
        (np.full(9, np.inf), RATE, "NaN or infinite"),
        (WAVE * 32768, RATE, "a peak of 3.*Divide integers"),
        (np.zeros(9, np.int32), RATE, "float in .* or int16; received int32"),
        (np.zeros(9, bool), RATE, "float in .* or int16; received bool"),
        (np.float32(0.5), RATE, r"shape \(samples,\) .*received \(\)"),
        (np.zeros((1, 9)), RATE, r"shape .*received \(1, 9\)"),
        (np.zeros((9, 0)), RATE, r"shape .*received \(9, 0\)"),
        (np.zeros((9, 1, 1)), RATE, r"shape .*received \(9, 1, 1\)"),
        (WAVE, 0, "sample_rate_hz: must be positive; received 0"),
        (WAVE, float("nan"), "sample_rate_hz: must be positive; received nan"),
    ],
)
def test_bad_samples(recognizer, samples, rate, message):
    with pytest.raises(InputError, match=message):
        recognizer.predict(samples, rate)


def test_bad_files(flatbuffer, tmp_path):
    good = pack_all(flatbuffer)
    bad = {
        "is not a TFLite file": b"RIFF....WAVE",
        "is not a TFLite file; ": b"",
        "holds no readable .*File is not a zip": flatbuffer,
        "holds no readable .*cut off": good[:-40],
        "holds no readable .*labels.txt": pack(flatbuffer, recogniser_json=json.dumps(SETTINGS)),
        "holds no readable .*recogniser.json": pack(flatbuffer, labels_txt="a"),
        "holds no readable .*Expecting": pack(flatbuffer, labels_txt="a", recogniser_json="?"),
        "holds no readable .*must be int": pack(flatbuffer, labels_txt="a", recogniser_json="[]"),
        "holds no readable .*clip_samples": pack(
            flatbuffer,
            labels_txt="a",
            recogniser_json=json.dumps(SETTINGS).replace("clip_samples", "clip"),
        ),
        "format 2, this release reads up to 1": pack_all(flatbuffer, format_version=2),
        r"announce one input .*\(1, 13\).*\(1, 12\)": pack_all(flatbuffer, clip_samples=13),
        r"announce one output .*\(1, 11\).*\(1, 12\)": pack_all(flatbuffer, LABELS[1:]),
        r"announce one output .*\(1, 11\).*\(1, 12\).*": pack_all(
            flatbuffer, [*LABELS[1:], LABELS[1]]
        ),
        "runtime cannot load it": pack_all(flatbuffer[:8] + bytes(300)),
    }
    for message, content in bad.items():
        (tmp_path / "bad.tflite").write_bytes(content)
        with pytest.raises(InputError, match=f"bad.tflite: .*{message}"):
            Recognizer(tmp_path / "bad.tflite")


def test_missing_file_and_bad_threads(path, tmp_path):
    with pytest.raises(InputError, match="none.tflite: cannot be read .*No such file"):
        Recognizer(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="threads: must be at least 1; received 0"):
        Recognizer(path, threads=0)


def write_clip(path: Path, waveform: np.ndarray = WAVE) -> Path:
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    return path


def predict(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, PREDICT, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_script_shows_a_table_and_names_bad_files(path, tmp_path):
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
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]

    assert done.returncode == 1
    assert header.split() == ["file", "emotion", *LABELS]
    assert first.startswith(str(files[0]))
    assert first.split()[-LENGTH - 1] == "emotion3"
    assert first.split()[-LENGTH + 3] == "99.9%"
    assert second.startswith(str(files[3]))
    assert len(header) == len(first) == len(second)
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {files[1]}: does not exist")
    assert errors[1].startswith(f"error: {files[2]}: samples: must lie in [-1, 1]")


def test_script_shows_no_header_without_a_row(path, tmp_path):
    done = predict("--model", path, tmp_path / "missing.wav")

    assert done.stdout == ""
    assert done.stderr.endswith(f"error: {tmp_path}/missing.wav: does not exist; check the path.\n")


def test_script_succeeds_or_names_the_bad_recogniser(path, tmp_path):
    clip = write_clip(tmp_path / "a.wav")
    bad = predict("--model", clip, clip)

    assert predict("--model", path, "--threads", 2, clip).returncode == 0
    assert bad.returncode == 1
    assert bad.stdout == ""
    assert bad.stderr.startswith(f"error: {clip}: is not a TFLite file")
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "statement",
    ["import ser_nsl.edge", "import runpy; runpy.run_path(sys.argv[1], run_name='predict')"],
    ids=["edge", "predict"],
)
def test_device_side_needs_no_training_side(statement):
    training_side = {
        *(
            "flatbuffers",
            "keras",
            "librosa",
            "mediapipe",
            "neural_structured_learning",
            "pandas",
        ),
        *("scipy", "sklearn", "tensorflow", "tf_keras", "tqdm", "transformers", "tyro"),
    }
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, PREDICT], capture_output=True, text=True, check=True
    )

    modules = set(done.stdout.split())
    assert "ser_nsl.edge" in modules
    assert not training_side & modules
