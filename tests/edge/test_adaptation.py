import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ser_nsl.edge import Adaptation, Recognizer
from ser_nsl.errors import InputError

RATE = 16_000
LENGTH = 12  # of the input of the recogniser
HALF = math.log(0.5)
TWO = SimpleNamespace(name="Two", labels=("calm", "cross", "no speech"), typical=(HALF, HALF))
CALM = {"calm": 0.72, "cross": 0.18, "no speech": 0.1}  # odds of 4 if there is speech
SAVED = {"labels": ["calm", "cross"], "typical": [HALF, HALF], "seconds": 2.0, "sum": [0.5, -1.5]}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Loud enough that the recogniser takes some windows for no speech."""
    return np.random.default_rng(seed).uniform(-9, 9, samples)


@pytest.fixture(scope="module")
def recognizer(adaptable) -> Recognizer:
    return Recognizer(adaptable)


def test_thirty_seconds_take_off_half_of_what_is_usual():
    adaptation = Adaptation(TWO)
    before = adaptation.adapt(CALM)
    adaptation.learn(CALM, 10)
    adaptation.learn(CALM, 20)

    assert before == pytest.approx(CALM)
    assert adaptation.seconds == 30
    assert adaptation.sum == pytest.approx([30 * math.log(1.6), 30 * math.log(0.4)])
    # Half of the logarithm of odds of 4 leaves odds of 2.
    assert adaptation.adapt(CALM) == pytest.approx({"calm": 0.6, "cross": 0.3, "no speech": 0.1})
    adaptation.reset()
    assert adaptation.adapt(CALM) == before


def test_what_is_typical_of_many_speakers_changes_nothing():
    adaptation = Adaptation(SimpleNamespace(**vars(TWO) | {"typical": (math.log(0.8), HALF)}))
    adaptation.learn({"calm": 0.8, "cross": 0.2}, 60)

    assert adaptation.sum == pytest.approx([0, 60 * math.log(0.4)])


def test_impossible_emotions_count_as_one_in_a_million():
    adaptation = Adaptation(TWO)
    adaptation.learn({"calm": 1.0, "cross": 0.0}, 30)

    adapted = adaptation.adapt({"calm": 1.0, "cross": 0.0})
    assert adapted == pytest.approx({"calm": 1000 / 1001, "cross": 1 / 1001})


def test_no_speech_is_not_learned_and_keeps_its_probability():
    """Files in int8 can be so sure that no emotion is left."""
    adaptation = Adaptation(TWO)
    sure = {"calm": 0.0, "cross": 0.0, "no speech": 1.0}
    adaptation.learn(sure, 3)
    adaptation.learn({"calm": 0.4, "cross": 0.09, "no speech": 0.51}, 3)

    assert adaptation.seconds == 0
    assert adaptation.sum.tolist() == [0, 0]
    adaptation.learn({"calm": 0.4, "cross": 0.1, "no speech": 0.5}, 3)
    assert adaptation.seconds == 3
    assert adaptation.adapt(sure) == sure


@pytest.mark.parametrize(
    ("probabilities", "seconds", "message"),
    [
        (CALM, -1, "seconds: must be 0 or more.*received -1"),
        (CALM, math.nan, "seconds: .*received nan"),
        (CALM, math.inf, "seconds: .*received inf"),
        (CALM | {"cross": math.nan}, 1, r"probabilities: .*received .*nan"),
        (CALM | {"calm": 1.1}, 1, r"probabilities: must be in \[0, 1\] .*received .*1.1"),
        ({"cross": 0.5, "calm": 0.5}, 1, "probabilities: .*for calm, cross.*received {'cross'"),
        ({"calm": 1.0}, 1, "probabilities: .*for calm, cross"),
    ],
)
def test_bad_answers_are_not_learned(probabilities, seconds, message):
    adaptation = Adaptation(TWO)
    with pytest.raises(InputError, match=message):
        adaptation.learn(probabilities, seconds)

    assert adaptation.seconds == 0


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_streams_learn_what_recordings_tell(recognizer, rate):
    """Hops of half a window make the same windows of 12 or 34 samples."""
    window = math.ceil(LENGTH * rate / RATE)
    samples = np.concatenate([noise(11 * window), np.zeros(2 * window), noise(7 * window, seed=1)])
    of_recording, of_stream = Adaptation(recognizer), Adaptation(recognizer)
    windows = recognizer.hear(samples, rate, adaptation=of_recording)
    stream = recognizer.stream(
        rate, hop_seconds=window / 2 / rate, smoothing_seconds=0, adaptation=of_stream
    )
    predictions = [each for chunk in np.array_split(samples, 9) for each in stream.feed(chunk)]

    assert of_stream.seconds == pytest.approx(of_recording.seconds)
    np.testing.assert_allclose(of_stream.sum, of_recording.sum)
    heard = [window.probabilities for window in windows if window.probabilities]
    for prediction, expected in zip(predictions, heard, strict=True):
        assert prediction.probabilities == pytest.approx(expected)
    unadapted = recognizer.hear(samples, rate)
    spoken = [each.has_speech for each in unadapted]
    # The first window is new as a whole, of the others the second half.
    assert of_stream.seconds * rate / window == pytest.approx(sum(spoken) / 2 + spoken[0] / 2)
    assert 0 < sum(spoken) < len(heard)
    assert windows[-1] != unadapted[-1]


@pytest.mark.parametrize(
    ("samples", "hop"), [(5, None), (28, None), (120, 40), (120, 12), (120, 1)]
)
def test_all_speech_is_counted_once(recognizer, samples, hop):
    """Recordings that are shorter or longer than a window; streams that leave gaps or do not."""
    adaptation = Adaptation(recognizer)
    sound = noise(samples) / 9
    if hop is None:
        recognizer.hear(sound, RATE, adaptation=adaptation)
    else:
        recognizer.stream(RATE, hop_seconds=hop / RATE, adaptation=adaptation).feed(sound)

    expected = 3 * LENGTH if hop == 40 else samples
    assert adaptation.seconds == pytest.approx(expected / RATE)


def test_without_it_answers_are_as_before(recognizer):
    adaptation = Adaptation(recognizer)
    adaptation.learn(recognizer.predict(noise(LENGTH), RATE), 300)
    recognizer.hear(noise(40), RATE, adaptation=adaptation)

    (window,) = recognizer.hear(noise(LENGTH), RATE)
    assert window.probabilities == recognizer.predict(noise(LENGTH), RATE)


def test_saved_and_loaded(tmp_path):
    adaptation = Adaptation(TWO)
    adaptation.learn(CALM, 1 / 3)
    adaptation.save(tmp_path / "anna.json")
    loaded = Adaptation.load(str(tmp_path / "anna.json"), TWO)

    assert loaded.adapt(CALM) == adaptation.adapt(CALM)
    loaded.learn(CALM, 1)
    loaded.save(tmp_path / "anna.json")
    assert Adaptation.load(tmp_path / "anna.json", TWO).seconds == pytest.approx(4 / 3)
    assert [path.name for path in tmp_path.iterdir()] == ["anna.json"]
    assert list(json.loads((tmp_path / "anna.json").read_text())) == list(SAVED)


def test_a_failing_save_leaves_the_former_file(tmp_path, monkeypatch):
    adaptation = Adaptation(TWO)
    adaptation.save(tmp_path / "anna.json")
    adaptation.learn(CALM, 1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"anna.json: cannot be written \(No space left"):
        adaptation.save(tmp_path / "anna.json")
    assert Adaptation.load(tmp_path / "anna.json", TWO).seconds == 0
    assert [path.name for path in tmp_path.iterdir()] == ["anna.json"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"labels": ["joy", "fear"]},
            r"learned from a recogniser of joy, fear .* has calm, cross ",
        ),
        ({"typical": [HALF, -0.75]}, r"learned from .*-0.75.*, this one has .*-0.693"),
        ({"labels": None}, "labels: must be names; received None"),
        ({"labels": [1, 2]}, r"labels: must be names; received \[1, 2\]"),
        ({"typical": None}, "typical: must be 2 finite numbers; received None"),
        ({"sum": [0.5]}, r"sum: must be 2 finite numbers; received \[0.5\]"),
        ({"sum": [0.5, math.nan]}, r"sum: must be 2 finite .*nan"),
        ({"sum": [0.5, -math.inf]}, r"sum: must be 2 finite .*inf"),
        ({"sum": [0.5, "1"]}, r"sum: must be 2 finite .*'1'"),
        ({"sum": [0.5, 10**400]}, r"sum: must be 2 finite .*10000"),
        ({"sum": [0.5, 1.5]}, "sum: cannot come from 2.0 seconds"),  # more than ln 1
        ({"sum": [0.5, -27]}, "sum: cannot come from 2.0 seconds"),  # less than ln 1e-6
        ({"seconds": 0}, "sum: cannot come from 0 seconds"),
        ({"seconds": -1}, "seconds: must be 0 or more, and finite; received -1"),
        ({"seconds": math.nan}, "seconds: .*received nan"),
        ({"seconds": True}, "seconds: .*received True"),
        ({"seconds": None}, "seconds: .*received None"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changed, message):
    path = tmp_path / "anna.json"
    path.write_text(json.dumps(SAVED))
    assert Adaptation.load(path, TWO).sum.tolist() == SAVED["sum"]

    path.write_text(json.dumps(SAVED | changed))
    with pytest.raises(InputError, match=f"anna.json: .*{message}") as error:
        Adaptation.load(path, TWO)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 10**5, b'{"labels": ["calm"'])
def test_damaged_files(tmp_path, content):
    (tmp_path / "anna.json").write_bytes(content)

    with pytest.raises(InputError, match=r"anna.json: is damaged, or not of an adaptation \("):
        Adaptation.load(tmp_path / "anna.json", TWO)
    with pytest.raises(InputError, match=r"none.json: cannot be read \(No such file"):
        Adaptation.load(tmp_path / "none.json", TWO)


def test_a_recogniser_and_its_speaker_belong_together(recognizer, path):
    with pytest.raises(InputError, match="'Echo' cannot adapt, .*export it again"):
        Adaptation(Recognizer(path))
    other = Adaptation(TWO)

    for start in (recognizer.stream, lambda *given, **to: recognizer.hear(noise(12), *given, **to)):
        with pytest.raises(InputError, match="adaptation: is of calm, cross .* has emotion0, "):
            start(RATE, adaptation=other)


def test_threads_share_a_speaker():
    """With so many emotions that NumPy lets other threads run in the middle of a sum."""
    labels = tuple(f"emotion{i}" for i in range(2000))
    adaptation = Adaptation(SimpleNamespace(name="Many", labels=labels, typical=(0.0,) * 2000))
    answer = dict.fromkeys(labels, 1 / 2000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: adaptation.learn(answer, 0.5), range(400)))
    finally:
        sys.setswitchinterval(interval)

    assert adaptation.seconds == 200
    np.testing.assert_allclose(adaptation.sum, -200 * math.log(2000))
