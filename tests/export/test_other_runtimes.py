"""The released files in other runtimes, beside LiteRT on the same clips; tests/web has the page."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mediapipe.tasks.python import audio
from mediapipe.tasks.python.components.containers import AudioData
from mediapipe.tasks.python.core.base_options import BaseOptions

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.edge import Recognizer

RELEASED = Path(__file__).parents[2] / "models"
SAMPLES = 48_000
FILES = sorted(RELEASED.glob("*/cnn_tdnn_*.tflite"))

Predict = Callable[[np.ndarray], Sequence[float]]


Clips = tuple[list[np.ndarray], list[np.ndarray]]


def agree(file: Path, theirs: Predict, sounds_and_speech: Clips, bound: float) -> None:
    recognizer = Recognizer(file, runtime="ai_edge_litert")
    ours = [
        [[*recognizer.predict(clip, SAMPLE_RATE_HZ).values()] for clip in clips]
        for clips in sounds_and_speech
    ]

    spoken = np.array(ours[1])
    apart = np.abs(spoken[:, np.newaxis] - spoken).max(axis=-1)
    assert (apart + np.eye(len(spoken)) > 2 * bound).all()  # so that a wrong clip would be noticed
    for clips, expected in zip(sounds_and_speech, ours, strict=True):
        np.testing.assert_allclose([theirs(clip) for clip in clips], expected, atol=bound, rtol=0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_tflite_runtime_answers_the_same(file, sounds_and_speech):
    """The two round int8 in their own ways."""
    older = Recognizer(file, runtime="tflite_runtime")

    def theirs(clip: np.ndarray) -> list[float]:
        return [*older.predict(clip, SAMPLE_RATE_HZ).values()]

    agree(file, theirs, sounds_and_speech, 3e-2 if "int8" in file.stem else 1e-5)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_mediapipe_answers_the_same(file, sounds_and_speech):
    labels = Recognizer(file).labels
    options = audio.AudioClassifierOptions(BaseOptions(str(file)))
    with audio.AudioClassifier.create_from_options(options) as classifier:

        def theirs(clip: np.ndarray) -> list[float]:
            (window,) = classifier.classify(AudioData.create_from_array(clip, SAMPLE_RATE_HZ))[:1]
            named = {
                each.category_name: each.score for each in window.classifications[0].categories
            }
            return [named[label] for label in labels]

        agree(file, theirs, sounds_and_speech, 1e-5)


@pytest.mark.parametrize("name", ["everyone", "emodb"])
@pytest.mark.parametrize(("form", "bound"), [("float16", 1e-5), ("int8", 1e-2)])
def test_onnx_runtime_answers_the_same(name, form, bound, sounds_and_speech, tmp_path):
    """An int8 network may round a sum to either side, which is a step of 1/256 somewhere in it."""
    tf2onnx = pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (file,) = (RELEASED / name).glob(f"*_{form}.tflite")
    tf2onnx.convert.from_tflite(str(file), output_path=str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (waveform,), (probabilities,) = session.get_inputs(), session.get_outputs()

    def theirs(clip: np.ndarray) -> np.ndarray:
        return session.run([probabilities.name], {waveform.name: clip[np.newaxis]})[0][0]

    assert waveform.shape == [1, SAMPLES]
    agree(file, theirs, sounds_and_speech, bound)


@pytest.mark.parametrize("name", ["everyone", "emodb"])
def test_tflm_runs_int8_in_the_memory_that_the_page_says(name, sounds_and_speech):
    """Its kernels round in their own way. It cannot run float16: DEQUANTIZE takes integers only."""
    reason = "tflite-micro is not installed; pip install --pre --no-deps tflite-micro"
    tflm = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason=reason)
    (int8,), (float16,) = (
        (RELEASED / name).glob(f"*_{form}.tflite") for form in ("int8", "float16")
    )
    interpreter = tflm.Interpreter.from_file(str(int8), arena_size=1_300_000)

    def theirs(clip: np.ndarray) -> np.ndarray:
        interpreter.set_input(clip[np.newaxis], 0)
        interpreter.invoke()
        return interpreter.get_output(0)[0]

    agree(int8, theirs, sounds_and_speech, 3e-2)
    with pytest.raises(RuntimeError, match="allocate"):
        tflm.Interpreter.from_file(str(float16), arena_size=8_000_000)
