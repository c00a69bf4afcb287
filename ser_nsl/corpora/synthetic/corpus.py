"""The stage that makes one of the two synthetic corpora."""

import zlib
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.description import load_corpus
from ser_nsl.corpora.synthetic import espeak
from ser_nsl.corpora.synthetic.layouts import LAYOUTS, SyntheticClip
from ser_nsl.corpora.synthetic.voice_quality import add_breath, rms, tilt_spectrum, waver
from ser_nsl.corpora.synthetic.voices import PUNCTUATION, Cues, Speaker, draw_cues, draw_speaker
from ser_nsl.errors import InputError
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.stage import stage

_README = """\
SYNTHETIC SPEECH. No person speaks here.

These clips were spoken by espeak-ng and coloured by rules after published acoustic correlates
of emotion. They have the folders and file names of {}, but nothing of its audio. They
prove that the mechanics work, not the science: a score on them says nothing about emotion in
real speech.

Made by ser_nsl's make_synthetic_corpus: corpus={}, speakers={},
clips_per_emotion={}, seed={}.
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
    """Makes a synthetic corpus in the layout of a real one; it proves mechanics, not science.

    Args:
        corpus: `ravdess` (English, 8 emotions) or `demos` (Italian, 7 emotions).
        out: Folder for the WAV files (16 bit, mono, 16 kHz), with the subfolders and file names of
            the real corpus, and for `README.txt`, which says that they are synthetic.
        speakers: Number of speakers, men and women in turn; at most that of the real corpus (24,
            68).
        clips_per_emotion: Number of clips per speaker and emotion. `ravdess` allows 8, of which
            neutral has only those of normal intensity (4 of 8); `demos` allows 30.
        seed: Seed of the random numbers, 0 to 2^32 - 1; the same seed gives the same bytes.

    Returns:
        Counts: `speakers`, `clips`, `seconds` and, for each emotion, `clips_by_emotion`.

    Raises:
        InputError: If a number is out of range, or espeak-ng is not installed.

    Example:
        >>> made = make_synthetic_corpus(
        ...     corpus="demos", out=Path("synthetic"), speakers=2, clips_per_emotion=1
        ... )
        >>> made.counts["clips"]
        14
        >>> sorted(path.name for path in Path("synthetic").rglob("*rab*.wav"))
        ['NP_m_01_rab00a.wav', 'PR_f_02_rab00a.wav']
    """
    check_synthetic(corpus, speakers, clips_per_emotion, seed)
    clips = list(LAYOUTS[corpus].clips(speakers, clips_per_emotion))
    seconds = 0.0
    for clip in Bar(clips, desc=f"synthetic {corpus}", unit="clip"):
        speaker = draw_speaker(clip.gender, _random(seed, corpus, f"speaker {clip.speaker}"))
        samples = render(clip, speaker, _random(seed, corpus, clip.path))
        path = out / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        seconds += len(samples) / SAMPLE_RATE_HZ
    title = load_corpus(corpus).title
    readme = _README.format(title, corpus, speakers, clips_per_emotion, seed)
    (out / "README.txt").write_text(readme, encoding="utf-8")
    return {
        "speakers": speakers,
        "clips": len(clips),
        "seconds": round(seconds, 1),
        "clips_by_emotion": dict(Counter(clip.emotion for clip in clips)),
    }


def render(clip: SyntheticClip, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Returns the audio of a clip.

    Args:
        clip: What is said, and with which emotion.
        speaker: Who says it.
        rng: The clip's own random numbers.

    Returns:
        float64, shape `(samples,)`, values within (-1, 1), 16 kHz.
    """
    cues = draw_cues(clip.emotion, speaker.style, strong=clip.strong, rng=rng)
    speech = _trim(espeak.speak(_markup(clip, cues, rng), _voice(clip.language, speaker, cues)))
    speech = waver(speech, espeak.SAMPLE_RATE_HZ, cues.tremor, cues.roughness, rng)
    speech = soxr.resample(speech, espeak.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    speech = add_breath(speech, SAMPLE_RATE_HZ, speaker.breath_db + cues.breath, rng)
    speech = tilt_spectrum(speech, SAMPLE_RATE_HZ, speaker.tilt + cues.tilt)
    return _record(speech, speaker.level_db + cues.level, rng)


def check_synthetic(corpus: str, speakers: int, clips_per_emotion: int, seed: int) -> None:
    """Refuses a synthetic corpus that cannot be made.

    Args:
        corpus: As in `make_synthetic_corpus`, and so the others.
        speakers: Number of speakers.
        clips_per_emotion: Number of clips per speaker and emotion.
        seed: Seed.

    Raises:
        InputError: If the corpus is unknown, or a number is out of range.
    """
    if corpus not in LAYOUTS:
        raise InputError(f"corpus: must be one of {', '.join(LAYOUTS)}; received {corpus!r}.")
    layout = LAYOUTS[corpus]
    _check_range("speakers", speakers, 1, layout.most_speakers)
    _check_range("clips_per_emotion", clips_per_emotion, 1, layout.most_clips_per_emotion)
    _check_range("seed", seed, 0, 2**32 - 1)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name}: must be from {least} to {most}; received {value}.")


def _random(seed: int, corpus: str, key: str) -> np.random.Generator:
    """Random numbers that depend on what they are for, not on what was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(f"{corpus}/{key}".encode())])


def _markup(clip: SyntheticClip, cues: Cues, rng: np.random.Generator) -> str:
    pause = f'<break time="{1000 * cues.pause:.0f}ms"/>' if cues.pause > 0.02 else ""
    ending = PUNCTUATION.get(clip.emotion, ".") if rng.uniform() < 0.6 else "."
    return clip.sentence.replace("|", pause) + ending


def _voice(language: str, speaker: Speaker, cues: Cues) -> espeak.Voice:
    centre = speaker.pitch_hz * 2 ** (cues.pitch / 12)
    half_width = centre * min(speaker.pitch_span * 2**cues.pitch_range, 0.5)
    return espeak.Voice(
        language=language,
        pitch_hz=(centre - half_width, centre + half_width),
        words_per_minute=speaker.words_per_minute * 2**cues.rate,
        formant_percent=speaker.formant_percent * (1 + cues.formants / 100),
    )


def _trim(speech: np.ndarray) -> np.ndarray:
    """Removes the silence before and after the speech."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    return speech[loud[0] : loud[-1] + 1]


def _record(speech: np.ndarray, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Sets the level, adds a moment before and after and the hiss of a quiet room."""
    speech = speech * (10 ** (level_db / 20) / rms(speech))
    before, after = (rng.uniform(0.08, 0.3, 2) * SAMPLE_RATE_HZ).astype(int)
    recorded = np.pad(speech, (before, after))
    recorded += rng.normal(0, 10 ** (-70 / 20), len(recorded))
    # As a sound engineer would: turn down what would clip.
    return recorded * min(1.0, 0.95 / np.abs(recorded).max())
