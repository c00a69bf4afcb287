"""The synthetic corpora: names, sound, cues and, above all, the same bytes every time."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")

from ser_nsl.corpora import load_corpus, make_synthetic_corpus
from ser_nsl.corpora.synthetic import espeak
from ser_nsl.corpora.synthetic.layouts import demos_clips, ravdess_clips
from ser_nsl.corpora.synthetic.voice_quality import add_breath, rms, tilt_spectrum, waver
from ser_nsl.corpora.synthetic.voices import EMOTIONS, Cues, draw_cues, draw_speaker
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record

RAVDESS = re.compile(r"Actor_(\d\d)/03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)\.wav")
DEMOS = re.compile(r"DEMOS/(NP|PR)_([fm])_(\d\d)_(col|dis|gio|pau|rab|sor|tri)(\d\d)([abc])\.wav")


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ravdess")
    make_synthetic_corpus(out=out, corpus="ravdess", speakers=2, clips_per_emotion=3)
    return out


@pytest.fixture(scope="module")
def demos(ravdess, tmp_path_factory) -> Path:
    """Made after `ravdess` by the same espeak-ng."""
    out = tmp_path_factory.mktemp("demos")
    make_synthetic_corpus(out=out, corpus="demos", speakers=2, clips_per_emotion=1)
    return out


def contents(corpus: Path) -> dict[str, bytes]:
    paths = sorted(corpus.rglob("*.wav"))
    return {path.relative_to(corpus).as_posix(): path.read_bytes() for path in paths}


def test_ravdess_has_the_names_and_counts_of_the_real_corpus():
    fields = [RAVDESS.fullmatch(clip.path).groups() for clip in ravdess_clips(24, 8)]

    assert len(set(fields)) == len(fields) == 1_440
    assert all(folder == actor for folder, *_, actor in fields)
    counts = Counter(emotion for _, emotion, *_ in fields)
    assert counts == {"01": 24 * 4} | {f"{code:02}": 24 * 8 for code in range(2, 9)}
    assert all(intensity == "01" for _, emotion, intensity, *_ in fields if emotion == "01")


def test_demos_has_the_names_of_the_real_corpus():
    fields = [DEMOS.fullmatch(clip.path).groups() for clip in demos_clips(68, 12)]

    assert len(set(fields)) == len(fields) == 68 * 7 * 12
    assert all(gender == "fm"[int(speaker) % 2] for _, gender, speaker, *_ in fields)
    assert {*Counter(emotion for _, _, _, emotion, *_ in fields).values()} == {68 * 12}
    prototypical = sum(kind == "PR" for kind, *_ in fields) / len(fields)
    assert prototypical == pytest.approx(1 / 6, abs=0.02)
    takes = {(number, take) for *_, number, take in fields}
    assert {("00", "a"), ("00", "b")} <= takes and ("05", "b") not in takes


@pytest.mark.parametrize(("name", "clips"), [("ravdess", ravdess_clips), ("demos", demos_clips)])
def test_the_description_of_the_real_corpus_reads_the_names(name, clips):
    for made in clips(4, 2):
        read = load_corpus(name).read(PurePath(made.path))
        assert (int(read.speaker), read.gender[0]) == (made.speaker, made.gender)
        assert read.emotion == made.emotion


def test_counts_are_those_of_the_files(ravdess):
    counts = read_record(ravdess)["counts"]
    lengths = [soundfile.info(path).duration for path in ravdess.rglob("*.wav")]

    assert counts["clips"] == len(lengths) == 2 * (2 + 7 * 3)
    assert (counts["speakers"], counts["clips_by_emotion"]["neutral"]) == (2, 4)
    assert counts["seconds"] == pytest.approx(sum(lengths), abs=0.1)


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
    assert "corpus=ravdess, speakers=2,\nclips_per_emotion=3, seed=0." in text


def test_a_fresh_process_writes_the_same_bytes_of_fewer_clips(ravdess, demos, tmp_path):
    program = (
        "from pathlib import Path; from ser_nsl.corpora import make_synthetic_corpus as make\n"
        "for corpus in ('demos', 'ravdess'):  # the other order\n"
        "    make(corpus=corpus, out=Path(corpus), speakers=1, clips_per_emotion=1)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)

    for name, more, count in (("ravdess", ravdess, 8), ("demos", demos, 7)):
        fewer, clips = contents(tmp_path / name), contents(more)
        assert len(fewer) == count
        assert fewer == {name: clips[name] for name in fewer}


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
    """The median, over loud frames, of the pitch with the highest autocorrelation."""
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
        assert np.mean([cues.pitch for cues in drawn]) == pytest.approx(
            0.9 * target.pitch, abs=0.25
        )
        assert min(min(cues.tremor, cues.roughness, cues.pause) for cues in drawn) >= 0


def test_tilt_changes_each_octave_by_the_requested_decibels():
    time = np.arange(16_000) / 16_000
    low, high = np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 2000 * time)
    tilted = [tilt_spectrum(x, 16_000, db_per_octave=3) for x in (low, high)]
    levels = [20 * np.log10(rms(x) / rms(low)) for x in tilted]
    assert levels == pytest.approx([-3, 3], abs=1e-6)


def test_breath_has_the_requested_level():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    breathy = add_breath(tone, 16_000, level_db=-20, rng=rng)
    assert rms(breathy - tone) / rms(tone) == pytest.approx(0.1)


def test_a_voice_that_does_not_waver_stays_as_it_is():
    rng = np.random.default_rng(0)
    speech = rng.normal(size=1000)
    steady = waver(speech, 16_000, tremor=0, roughness=0, rng=rng)
    assert steady == pytest.approx(speech)


@pytest.mark.parametrize(
    "wrong",
    [
        {"corpus": "iemocap"},
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


def test_missing_espeak_is_an_error_that_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(espeak, "_library", espeak._library.__wrapped__)
    with pytest.raises(InputError, match=r"pip install '\.\[synthetic\]'"):
        make_synthetic_corpus(out=tmp_path, corpus="demos")
    assert not list(tmp_path.iterdir())
