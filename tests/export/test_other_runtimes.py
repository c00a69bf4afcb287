"""The released files in ONNX Runtime and in TFLM, beside LiteRT on the same clips."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr

from ser_nsl.audio.clip import SAMPLE_RATE_HZ, fit_length
from ser_nsl.audio.sounds import SOUNDS
from ser_nsl.edge import Recognizer

RELEASED = Path(__file__).parents[2] / "models"
SAMPLES = 48_000
SENTENCES = {  # pitch in Hz, words per minute, formants in per cent
    "I will not do that again!": ((150, 330), 230, 110),
    "The kettle is on the table.": ((75, 110), 120, 100),
    "We won the game, can you believe it?": ((180, 400), 190, 118),
    "Nobody came to see me.": ((90, 130), 90, 95),
}

Predict = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Speech, and sounds of every kind that is not speech."""
    pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")
    from ser_nsl.corpora.synthetic.espeak import SAMPLE_RATE_HZ as SPOKEN_HZ
    from ser_nsl.corpora.synthetic.espeak import Voice, speak

    draw = np.random.default_rng(0)
    sounds = [make(SAMPLES, draw) for make in SOUNDS.values()]
    sounds = [0.5 * sound / max(np.abs(sound).max(), 1e-9) for sound in sounds]
    spoken = [speak(text, Voice("en", *voice)) for text, voice in SENTENCES.items()]
    spoken = [soxr.resample(speech, SPOKEN_HZ, SAMPLE_RATE_HZ) for speech in spoken]
    return [fit_length(clip.astype(np.float32), SAMPLES) for clip in [*sounds, *spoken]]


def agree(file: Path, theirs: Predict, clips: list[np.ndarray], bound: float) -> None:
    recognizer = Recognizer(file, runtime="ai_edge_litert")
    ours = [[*recognizer.predict(clip, SAMPLE_RATE_HZ).values()] for clip in clips]

    spoken = np.array(ours)[-len(SENTENCES) :]
    apart = np.abs(spoken[:, np.newaxis] - spoken).max(axis=-1)
    assert (apart + np.eye(len(spoken)) > 2 * bound).all()  # so that a wrong clip would be noticed
    np.testing.assert_allclose([theirs(clip) for clip in clips], ours, atol=bound, rtol=0)


@pytest.mark.parametrize("name", ["everyone", "emodb"])
@pytest.mark.parametrize(("form", "bound"), [("float16", 1e-5), ("int8", 1e-2)])
def test_onnx_runtime_answers_the_same(name, form, bound, clips, tmp_path):
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
    agree(file, theirs, clips, bound)


@pytest.mark.parametrize("name", ["everyone", "emodb"])
def test_tflm_runs_int8_in_the_memory_that_the_page_says(name, clips):
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

    agree(int8, theirs, clips, 3e-2)
    with pytest.raises(RuntimeError, match="allocate"):
        tflm.Interpreter.from_file(str(float16), arena_size=8_000_000)
