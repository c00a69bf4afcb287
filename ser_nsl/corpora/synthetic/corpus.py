"""The stage that makes a synthetic corpus."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from ser_nsl.corpora.description import load_corpus
from ser_nsl.corpora.synthetic import espeak
from ser_nsl.corpora.synthetic.emotions import PUNCTUATION, Cues, draw_cues
from ser_nsl.corpora.synthetic.layouts import LAYOUTS, Clip
from ser_nsl.corpora.synthetic.speakers import Speaker, draw_speaker
from ser_nsl.corpora.synthetic.voice_quality import add_breath, rms, tilt_spectrum, waver
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import stage

SAMPLE_RATE_HZ = 16_000

_README = """\
SYNTHETIC SPEECH. No person speaks here.

These clips were spoken by espeak-ng, with the emotions added by rules after published acoustic
correlates. They have the folders and file names of {title}, but nothing of its audio. They
prove that the mechanics work, not the science: a score on them says nothing about emotion in
real speech.

Made by ser_nsl's make_synthetic_corpus: {settings}.
"""


@stage(inputs=(), makes="folder")
def make_synthetic_corpus(
    *,
    corpus: Literal["ravdess", "demos"],
    out: Path,
    speakers: int = 8,
    clips_per_emotion: int = 4,
    seed: int = 0,
) -> dict:
    """Makes synthetic emotional speech with the file names of a known corpus.

    It shows that the steps of the chain work; scores on it say nothing about real speech.

    Args:
        out: Folder for the WAV files (16 bit, mono, 16 kHz), in the folders and with the names of
            the real corpus, and `README.txt`, which says that they are synthetic.
        corpus: `ravdess` (English, 8 emotions) or `demos` (Italian, 7 emotions).
        speakers: Number of speakers, men and women in turn; at most 24 for `ravdess`, 68 for
            `demos`.
        clips_per_emotion: Number of clips of each emotion by each speaker; at most 8 for `ravdess`,
            where neutral has only those of normal intensity (4 of 8), 30 for `demos`.
        seed: Seed of everything random; the same seed gives the same bytes.

    Returns:
        Number of speakers, clips, seconds, and clips of each emotion.

    Raises:
        InputError: If a number is out of range, or espeak-ng is not installed.

    Example:
        >>> made = make_synthetic_corpus(
        ...     corpus="demos", out=Path("speech"), speakers=2, clips_per_emotion=1
        ... )
        >>> made.counts["clips"], sorted(path.name for path in Path("speech/DEMOS").iterdir())[0]
        (14, 'NP_f_02_col00a.wav')
    """
    if corpus not in LAYOUTS:
        raise InputError(f"corpus must be one of {', '.join(LAYOUTS)}. Received: {corpus!r}.")
    layout = LAYOUTS[corpus]
    _check("speakers", speakers, 1, layout.most_speakers)
    _check("clips_per_emotion", clips_per_emotion, 1, layout.most_clips_per_emotion)
    _check("seed", seed, 0, 2**32 - 1)

    clips = list(layout.clips(speakers, clips_per_emotion))
    seconds = 0.0
    for clip in tqdm(clips, desc=f"synthetic {corpus}", unit="clip"):
        speaker = draw_speaker(clip.gender, _random(seed, corpus, f"speaker {clip.speaker}"))
        samples = render(clip, speaker, _random(seed, corpus, str(clip.path)))
        path = Path(out, clip.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        seconds += len(samples) / SAMPLE_RATE_HZ
    Path(out, "README.txt").write_text(
        _README.format(
            title=load_corpus(corpus).title,
            settings=f"{corpus=}, {speakers=}, {clips_per_emotion=}, {seed=}",
        ),
        encoding="utf-8",
    )
    return {
        "speakers": speakers,
        "clips": len(clips),
        "seconds": round(seconds, 1),
        "clips_by_emotion": dict(Counter(clip.emotion for clip in clips)),
    }


def render(clip: Clip, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Speaks one clip.

    Args:
        clip: Sentence and emotion.
        speaker: Voice of the speaker.
        rng: Random numbers of this clip.

    Returns:
        float64, shape `(samples,)`, values within (-1, 1), 16 kHz.
    """
    cues = draw_cues(clip.emotion, speaker.style, strong=clip.strong, rng=rng)
    speech = espeak.speak(_markup(clip, cues, rng), _voice(clip, speaker, cues))
    speech = waver(
        _trim(speech),
        sample_rate_hz=espeak.SAMPLE_RATE_HZ,
        tremor_semitones=cues.tremor,
        roughness_semitones=cues.roughness,
        rng=rng,
    )
    speech = soxr.resample(speech, espeak.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    speech = add_breath(
        speech, sample_rate_hz=SAMPLE_RATE_HZ, level_db=speaker.breath_db + cues.breath, rng=rng
    )
    speech = tilt_spectrum(
        speech, sample_rate_hz=SAMPLE_RATE_HZ, db_per_octave=speaker.tilt + cues.tilt
    )
    return _record(speech, level_db=speaker.level_db + cues.level, rng=rng)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name} must be from {least} to {most}. Received: {value}.")


def _random(seed: int, corpus: str, key: str) -> np.random.Generator:
    """Returns random numbers that depend on their use, not on what was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(f"{corpus}/{key}".encode())])


def _markup(clip: Clip, cues: Cues, rng: np.random.Generator) -> str:
    pause = f'<break time="{1000 * cues.pause:.0f}ms"/>' if cues.pause > 0.02 else ""
    ending = PUNCTUATION.get(clip.emotion, ".") if rng.uniform() < 0.6 else "."
    return clip.sentence.replace("|", pause) + ending


def _voice(clip: Clip, speaker: Speaker, cues: Cues) -> espeak.Voice:
    centre = speaker.pitch_hz * 2 ** (cues.pitch / 12)
    half_width = centre * min(speaker.pitch_span * 2**cues.pitch_range, 0.5)
    return espeak.Voice(
        language=clip.language,
        pitch_hz=(centre - half_width, centre + half_width),
        words_per_minute=speaker.words_per_minute * 2**cues.rate,
        formant_percent=speaker.formant_percent * (1 + cues.formants / 100),
    )


def _trim(speech: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    return speech[loud[0] : loud[-1] + 1]


def _record(speech: np.ndarray, *, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Sets the level, and adds short pauses before and after, and the noise of a quiet room."""
    speech = speech * (10 ** (level_db / 20) / rms(speech))
    before, after = (rng.uniform(0.08, 0.3, 2) * SAMPLE_RATE_HZ).astype(int)
    recorded = np.pad(speech, (before, after))
    recorded += rng.normal(0, 10 ** (-70 / 20), len(recorded))
    # Turn down what would clip.
    return recorded * min(1.0, 0.95 / np.abs(recorded).max())
