"""The synthetic corpora: names, sound, cues and, above all, the same bytes every time."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")

from ser_nsl.corpora import load_corpus
from ser_nsl.corpora.synthetic import espeak, make_synthetic_corpus
from ser_nsl.corpora.synthetic.emotions import EMOTIONS, Cues, draw_cues
from ser_nsl.corpora.synthetic.speakers import draw_speaker
from ser_nsl.corpora.synthetic.voice_quality import add_breath, rms, tilt_spectrum, waver
from ser_nsl.errors import InputError

RAVDESS = re.compile(r"Actor_(\d\d)/03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)\.wav")
DEMOS = re.compile(r"DEMOS/(NP|PR)_([fm])_(\d\d)_(col|dis|gio|pau|rab|sor|tri)(\d\d)([abc])\.wav")


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory) -> Path:
    """Two actors with all the clips that the real corpus has of them."""
    out = tmp_path_factory.mktemp("ravdess")
    make_synthetic_corpus(out=out, corpus="ravdess", speakers=2, clips_per_emotion=8)
    return out


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demos")
    make_synthetic_corpus(out=out, corpus="demos", speakers=2, clips_per_emotion=12)
    return out


def names(corpus: Path) -> list[str]:
    return sorted(path.relative_to(corpus).as_posix() for path in corpus.rglob("*.wav"))


def contents(corpus: Path) -> dict[str, bytes]:
    return {name: (corpus / name).read_bytes() for name in names(corpus)}


def test_ravdess_has_the_names_and_counts_of_the_real_corpus(ravdess):
    fields = [RAVDESS.fullmatch(name).groups() for name in names(ravdess)]
    assert all(folder == actor for folder, *_, actor in fields)
    assert {actor for *_, actor in fields} == {"01", "02"}
    assert len(fields) == 2 * 60
    emotions = [emotion for _, emotion, *_ in fields]
    assert emotions.count("01") == 2 * 4
    assert all(emotions.count(f"{code:02}") == 2 * 8 for code in range(2, 9))
    assert all(intensity == "01" for _, emotion, intensity, *_ in fields if emotion == "01")


def test_demos_has_the_names_of_the_real_corpus(demos):
    fields = [DEMOS.fullmatch(name).groups() for name in names(demos)]
    assert {(gender, speaker) for _, gender, speaker, *_ in fields} == {
        ("m", "01"),
        ("f", "02"),
    }
    emotions = [emotion for _, _, _, emotion, _, _ in fields]
    assert {emotions.count(emotion) for emotion in set(emotions)} == {2 * 12}
    prototypical = sum(kind == "PR" for kind, *_ in fields) / len(fields)
    assert prototypical == pytest.approx(1 / 6, abs=0.02)
    takes = {(number, take) for *_, number, take in fields}
    assert ("00", "a") in takes and ("00", "b") in takes and ("05", "b") not in takes


def test_the_ordinary_readers_read_the_names(ravdess, demos):
    for folder, reader in ((ravdess, load_corpus("ravdess")), (demos, load_corpus("demos"))):
        clips = [reader.read(folder / name) for name in names(folder)]
        genders = {(clip.speaker, clip.gender) for clip in clips}
        assert genders == {("01", "male"), ("02", "female")}
        assert len({clip.utterance_id for clip in clips}) == len(clips)


def test_counts_are_returned(tmp_path):
    counts = make_synthetic_corpus(
        out=tmp_path, corpus="ravdess", speakers=1, clips_per_emotion=3
    ).counts
    assert counts["speakers"] == 1
    assert counts["clips"] == len(names(tmp_path)) == 2 + 7 * 3
    assert counts["clips_by_emotion"]["neutral"] == 2
    assert counts["clips_by_emotion"]["calm"] == 3
    lengths = [soundfile.info(tmp_path / name).duration for name in names(tmp_path)]
    assert counts["seconds"] == pytest.approx(sum(lengths), abs=0.1)


@pytest.mark.parametrize("corpus", ["ravdess", "demos"])
def test_every_clip_is_plain_16_khz_speech(corpus, request):
    folder = request.getfixturevalue(corpus)
    for name in names(folder):
        info = soundfile.info(folder / name)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16"), name
        assert 1.2 < info.duration < 5, name
        samples, _ = soundfile.read(folder / name)
        assert np.isfinite(samples).all(), name
        assert 0.01 < np.abs(samples).max() < 0.96, name


def test_readme_says_that_it_is_synthetic(ravdess):
    text = (ravdess / "README.txt").read_text(encoding="utf-8")
    assert text.startswith("SYNTHETIC SPEECH.")
    assert "not the science" in text


@pytest.mark.parametrize("corpus", ["ravdess", "demos"])
def test_fresh_processes_write_the_same_bytes(corpus, tmp_path):
    call = "make_synthetic_corpus(out=Path('{}'), corpus='{}', speakers=2, clips_per_emotion=1)"
    begin = "from pathlib import Path; from ser_nsl.corpora.synthetic import *; "
    other = {"ravdess": "demos", "demos": "ravdess"}[corpus]
    programs = [
        begin + call.format("first", corpus),
        # What espeak-ng said before must not matter.
        begin + call.format("before", other) + "; " + call.format("second", corpus),
    ]
    running = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE)
        for program in programs
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    first = contents(tmp_path / "first")
    assert len(first) == {"ravdess": 16, "demos": 14}[corpus]
    assert first == contents(tmp_path / "second")


def test_more_clips_and_speakers_leave_the_others_as_they_were(demos, tmp_path):
    make_synthetic_corpus(out=tmp_path, corpus="demos", speakers=1, clips_per_emotion=1)
    fewer, more = contents(tmp_path), contents(demos)
    assert fewer == {name: more[name] for name in fewer}


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
def test_espeak_speaks_at_the_pitch_asked_for(pitch_hz, language):
    speech = espeak.speak("la la la la la.", espeak.Voice(language, pitch_hz, 150, 100))
    assert np.mean(pitch_hz) == pytest.approx(fundamental_hz(speech), rel=0.15)


def fundamental_hz(speech: np.ndarray) -> float:
    """The median, over loud frames, of the lag at which a frame is most like itself."""
    size, rate = 2048, espeak.SAMPLE_RATE_HZ
    frames = speech[: len(speech) // size * size].reshape(-1, size)
    frames = frames[np.abs(frames).max(axis=1) > 0.5 * np.abs(speech).max()]
    likeness = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)
    shortest, longest = rate // 300, rate // 70
    lags = shortest + likeness[:, shortest:longest].argmax(axis=1)
    return float(np.median(rate / lags))


def test_cues_stay_near_their_emotion():
    rng = np.random.default_rng(0)
    average = Cues(*[1.0] * len(Cues._fields))
    for emotion, target in EMOTIONS.items():
        drawn = [draw_cues(emotion, average, strong=False, rng=rng) for _ in range(300)]
        # Clips of normal strength express 0.9 of the emotion on average.
        assert np.mean([cues.pitch for cues in drawn]) == pytest.approx(
            0.9 * target.pitch, abs=0.25
        )
        assert min(min(cues.tremor, cues.roughness, cues.pause) for cues in drawn) >= 0


def test_tilt_changes_each_octave_by_the_decibels_asked_for():
    time = np.arange(16_000) / 16_000
    low, high = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 2000 * time)
    tilted = [tilt_spectrum(x, sample_rate_hz=16_000, db_per_octave=3) for x in (low, high)]
    levels = [20 * np.log10(rms(x) / rms(low)) for x in tilted]
    assert levels == pytest.approx([-3, 3], abs=1e-6)


def test_breath_has_the_level_asked_for():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    breathy = add_breath(tone, sample_rate_hz=16_000, level_db=-20, rng=rng)
    assert rms(breathy - tone) / rms(tone) == pytest.approx(0.1)


def test_a_voice_that_does_not_waver_stays_as_it_is():
    rng = np.random.default_rng(0)
    speech = rng.normal(size=1000)
    steady = waver(
        speech, sample_rate_hz=16_000, tremor_semitones=0, roughness_semitones=0, rng=rng
    )
    assert steady == pytest.approx(speech)


@pytest.mark.parametrize(
    "wrong",
    [
        {"corpus": "iemocap"},
        {"corpus": "ravdess", "speakers": 0},
        {"corpus": "ravdess", "speakers": 25},
        {"corpus": "ravdess", "clips_per_emotion": 9},
        {"corpus": "demos", "speakers": 69},
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
    with pytest.raises(InputError, match=r"from the checkout: pip install '\.\[synthetic\]'"):
        make_synthetic_corpus(out=tmp_path, corpus="demos")
    assert not list(tmp_path.iterdir())
