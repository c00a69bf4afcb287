"""Synthetic speech: names of real corpora, emotions that differ, the same bytes every time."""

import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")

from ser_nsl.corpora import load_corpus
from ser_nsl.corpora.synthetic import espeak, make_synthetic_corpus
from ser_nsl.corpora.synthetic.emotions import EMOTIONS, Cues, draw_cues
from ser_nsl.corpora.synthetic.layouts import LAYOUTS
from ser_nsl.corpora.synthetic.speakers import draw_speaker
from ser_nsl.corpora.synthetic.voice_quality import add_breath, rms, tilt_spectrum, waver
from ser_nsl.errors import InputError


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ravdess")
    make_synthetic_corpus(out=out, corpus="ravdess", speakers=2, clips_per_emotion=3)
    return out


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demos")
    make_synthetic_corpus(out=out, corpus="demos", speakers=2, clips_per_emotion=1)
    return out


def contents(corpus: Path) -> dict[str, bytes]:
    return {str(path.relative_to(corpus)): path.read_bytes() for path in corpus.rglob("*.wav")}


@pytest.mark.parametrize(
    ("corpus", "clips_per_emotion", "counts"),
    [
        ("ravdess", 8, {"neutral": 8} | dict.fromkeys({*EMOTIONS} - {"neutral", "guilt"}, 16)),
        ("demos", 12, dict.fromkeys({*EMOTIONS} - {"neutral", "calm"}, 24)),
    ],
)
def test_names_are_those_of_the_real_corpus(corpus, clips_per_emotion, counts):
    described = load_corpus(corpus)
    clips = list(LAYOUTS[corpus].clips(2, clips_per_emotion))

    read = [described.read(PurePath(clip.path)) for clip in clips]

    assert len({clip.utterance_id for clip in read}) == len(clips)
    assert [clip.emotion for clip in read] == [clip.emotion for clip in clips]
    assert Counter(clip.emotion for clip in read) == counts
    assert {(clip.speaker, clip.gender) for clip in read} == {("01", "male"), ("02", "female")}


def test_every_sixth_clip_of_demos_is_prototypical():
    paths = [clip.path.name for clip in LAYOUTS["demos"].clips(2, 12)]

    assert np.mean([path.startswith("PR") for path in paths]) == pytest.approx(1 / 6, abs=0.02)
    assert {path[-7:-4] for path in paths} >= {"00a", "00b"}
    assert not any(path.endswith("05b.wav") for path in paths)


def test_counts_are_returned(ravdess, tmp_path):
    counts = make_synthetic_corpus(
        out=tmp_path, corpus="ravdess", speakers=1, clips_per_emotion=2
    ).counts

    lengths = [soundfile.info(path).duration for path in tmp_path.rglob("*.wav")]
    assert counts["speakers"] == 1
    assert counts["clips"] == len(lengths) == 8 * 2
    assert counts["clips_by_emotion"] == dict.fromkeys({*EMOTIONS} - {"guilt"}, 2)
    assert counts["seconds"] == pytest.approx(sum(lengths), abs=0.1)
    fewer, more = contents(tmp_path), contents(ravdess)
    assert fewer == {name: more[name] for name in fewer}  # whatever else is made


@pytest.mark.parametrize("corpus", ["ravdess", "demos"])
def test_every_clip_is_plain_16_khz_speech(corpus, request):
    for path in request.getfixturevalue(corpus).rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16"), path
        assert 1.2 < info.duration < 5, path
        samples, _ = soundfile.read(path)
        assert 0.01 < np.abs(samples).max() < 0.96, path


def test_readme_says_that_it_is_synthetic(ravdess):
    text = (ravdess / "README.txt").read_text(encoding="utf-8")

    assert text.startswith("SYNTHETIC SPEECH.")
    assert "RAVDESS" in text and "speakers=2" in text


@pytest.mark.slow
def test_fresh_processes_write_the_same_bytes_in_any_order(tmp_path):
    call = "make_synthetic_corpus(out=Path('{}/{}'), corpus='{}', speakers=1, clips_per_emotion=1);"
    begin = "from pathlib import Path; from ser_nsl.corpora import make_synthetic_corpus; "
    for place, order in (("one", ("ravdess", "demos")), ("two", ("demos", "ravdess"))):
        program = begin + "".join(call.format(place, corpus, corpus) for corpus in order)
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)

    one = contents(tmp_path / "one")
    assert len(one) == 8 + 7
    assert one == contents(tmp_path / "two")


def test_another_seed_is_another_corpus(demos, tmp_path):
    make_synthetic_corpus(out=tmp_path, corpus="demos", speakers=1, clips_per_emotion=1, seed=1)

    other, one = contents(tmp_path), contents(demos)
    assert all(other[name] != one[name] for name in other)


def test_anger_is_louder_and_faster_than_sadness(ravdess):
    def mean(emotion: str, actor: str, measure) -> float:
        clips = ravdess.glob(f"Actor_{actor}/03-01-{emotion}-*.wav")
        return float(np.mean([measure(soundfile.read(clip)[0]) for clip in clips]))

    for actor in ("01", "02"):
        assert mean("05", actor, rms) > 2 * mean("04", actor, rms)
        assert mean("05", actor, len) < 0.9 * mean("04", actor, len)


def test_women_have_the_higher_pitch():
    rng = np.random.default_rng(0)
    women = [draw_speaker("f", rng).pitch_hz for _ in range(50)]
    men = [draw_speaker("m", rng).pitch_hz for _ in range(50)]

    assert min(men) > 85 and max(men) < min(women) and max(women) < 245


@pytest.mark.parametrize("pitch_hz", [(90, 120), (180, 240)])
@pytest.mark.parametrize("language", ["en", "it"])
def test_espeak_speaks_at_the_requested_pitch(pitch_hz, language):
    speech = espeak.speak("la la la la la.", espeak.Voice(language, pitch_hz, 150, 100))

    assert np.mean(pitch_hz) == pytest.approx(fundamental_hz(speech), rel=0.15)


def fundamental_hz(speech: np.ndarray) -> float:
    """The median, over loud frames, of the frequency at which autocorrelation is greatest."""
    size, rate = 2048, espeak.SAMPLE_RATE_HZ
    frames = speech[: len(speech) // size * size].reshape(-1, size)
    frames = frames[np.abs(frames).max(axis=1) > 0.5 * np.abs(speech).max()]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)
    shortest, longest = rate // 300, rate // 70
    lags = shortest + correlation[:, shortest:longest].argmax(axis=1)
    return float(np.median(rate / lags))


def test_cues_stay_near_their_emotion():
    rng = np.random.default_rng(0)
    average = Cues(*[1.0] * len(Cues._fields))
    for emotion, target in EMOTIONS.items():
        drawn = [draw_cues(emotion, average, strong=False, rng=rng) for _ in range(300)]
        # Clips of normal strength express 0.9 of the emotion on average.
        pitch = np.mean([cues.pitch for cues in drawn])
        assert pitch == pytest.approx(0.9 * target.pitch, abs=0.25)
        assert min(min(cues.tremor, cues.roughness, cues.pause) for cues in drawn) >= 0


def test_voice_quality_has_the_requested_amount():
    time, rng = np.arange(16_000) / 16_000, np.random.default_rng(0)
    low, high = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 2000 * time)

    tilted = [tilt_spectrum(x, sample_rate_hz=16_000, db_per_octave=3) for x in (low, high)]
    breathy = add_breath(low, sample_rate_hz=16_000, level_db=-20, rng=rng)
    steady = waver(low, sample_rate_hz=16_000, tremor_semitones=0, roughness_semitones=0, rng=rng)

    assert [20 * np.log10(rms(x) / rms(low)) for x in tilted] == pytest.approx([-3, 3], abs=1e-6)
    assert rms(breathy - low) / rms(low) == pytest.approx(0.1)
    assert steady == pytest.approx(low)


@pytest.mark.parametrize(
    "wrong",
    [
        {"corpus": "emovo"},
        {"corpus": "ravdess", "speakers": 25},
        {"corpus": "ravdess", "clips_per_emotion": 9},
        {"corpus": "demos", "speakers": 0},
        {"corpus": "demos", "clips_per_emotion": 31},
        {"corpus": "demos", "seed": -1},
    ],
)
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    argument, value = list(wrong.items())[-1]
    with pytest.raises(InputError, match=rf"{argument}.*{value}"):
        make_synthetic_corpus(out=tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_without_espeak_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(espeak, "_engine", espeak._Engine)

    with pytest.raises(InputError, match=r"pip install '\.\[synthetic\]'"):
        make_synthetic_corpus(out=tmp_path, corpus="demos")
    assert not list(tmp_path.iterdir())
