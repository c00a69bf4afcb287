"""Whose voice speaks, and what an emotion does to it, after published acoustic correlates.

The directions, and roughly the sizes, follow

- Murray & Arnott 1993, "Toward the simulation of emotion in synthetic speech", JASA 93;
- Banse & Scherer 1996, "Acoustic profiles in vocal emotion expression", JPSP 70: hot anger,
  panic fear, elation, sadness, disgust and, for guilt, shame;
- Burkhardt & Sendlmeier 2000, "Verification of acoustical correlates of emotional speech using
  formant synthesis", ISCA Workshop on Speech and Emotion: the raised formants of joy's smile,
  the tremor of fear, the breath of sadness, the tension of anger;
- Juslin & Laukka 2003, "Communication of emotions in vocal expression and music performance",
  Psychological Bulletin 129: rate, level, high-frequency energy, variability;
- Cahn 1990, "The generation of affect in synthesized speech", Journal of the American Voice I/O
  Society 8: surprise, with its wide, rising melody.

Calm is a mild, relaxed neutral, as RAVDESS means it. The numbers are ours: simple, and widely
overlapping on purpose.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np


class Cues(NamedTuple):
    """Differences from a speaker's neutral voice; all are zero for neutral.

    Attributes:
        pitch: Mean of the fundamental frequency, semitones.
        pitch_range: Width of its movements, octaves (1 is twice as wide).
        rate: Speaking rate, octaves (1 is twice as fast).
        level: Loudness, dB.
        tilt: Spectral balance, dB per octave (positive is brighter, a tense voice).
        breath: Level of the breath noise relative to the speech, dB.
        tremor: Slow wavering of pitch and level, semitones.
        roughness: Fast irregularity of pitch and level, semitones.
        formants: Shift of all formants, per cent (positive for a smile).
        pause: Added pause inside the sentence, seconds.
    """

    pitch: float = 0.0
    pitch_range: float = 0.0
    rate: float = 0.0
    level: float = 0.0
    tilt: float = 0.0
    breath: float = 0.0
    tremor: float = 0.0
    roughness: float = 0.0
    formants: float = 0.0
    pause: float = 0.0


EMOTIONS = {
    "neutral": Cues(),
    "calm": Cues(-1.0, -0.4, -0.15, -3.0, -1.0, 4.0, 0.0, 0.0, 0.0, 0.05),
    "happiness": Cues(3.5, 0.7, 0.1, 3.0, 1.0, 0.0, 0.0, 0.0, 4.0, 0.0),
    "sadness": Cues(-2.0, -0.8, -0.25, -6.0, -2.0, 7.0, 0.1, 0.0, -1.0, 0.25),
    "anger": Cues(3.0, 0.5, 0.2, 6.0, 2.0, -3.0, 0.0, 0.25, -1.0, 0.0),
    "fear": Cues(4.5, -0.2, 0.25, 0.0, 0.5, 5.0, 0.5, 0.1, 0.0, 0.15),
    "disgust": Cues(-1.5, 0.1, -0.2, -1.0, 0.5, 1.0, 0.0, 0.35, -3.0, 0.1),
    "surprise": Cues(5.0, 1.0, 0.0, 3.0, 0.5, 3.0, 0.0, 0.0, 1.0, 0.0),
    "guilt": Cues(-0.5, -0.6, -0.05, -4.0, -1.0, 2.0, 0.2, 0.25, 0.0, 0.2),
}
"""The cues of each emotion, fully expressed by an average speaker."""

PUNCTUATION = {"surprise": "?", "anger": "!", "happiness": "!"}
"""How a sentence may end, and so its melody; a full stop otherwise."""

# How strongly a clip expresses its emotion; 1 is fully. The two kinds overlap.
_EXPRESSIVENESS = {False: (0.7, 1.1), True: (1.0, 1.4)}

# How much each cue varies between clips of one speaker and emotion (standard deviation).
_VARIATION = Cues(0.8, 0.22, 0.06, 1.3, 0.55, 1.6, 0.07, 0.05, 1.0, 0.05)


def draw_cues(emotion: str, style: Cues, *, strong: bool, rng: np.random.Generator) -> Cues:
    """Draws the cues of one clip at random, around those of its emotion.

    Args:
        emotion: A key of `EMOTIONS`.
        style: How strongly the speaker uses each cue; 1 is average.
        strong: Whether the speaker was to express the emotion strongly.
        rng: The clip's own random numbers.

    Returns:
        The cues; tremor, roughness and pause are never negative.
    """
    expressiveness = rng.uniform(*_EXPRESSIVENESS[strong])
    target = expressiveness * np.array(style) * np.array(EMOTIONS[emotion])
    drawn = Cues(*rng.normal(target, _VARIATION).tolist())
    positive = {name: max(getattr(drawn, name), 0.0) for name in ("tremor", "roughness", "pause")}
    return drawn._replace(**positive)


@dataclass(frozen=True)
class Speaker:
    """A speaker's neutral voice and manner.

    Attributes:
        pitch_hz: Mean fundamental frequency, Hz.
        pitch_span: Largest deviation of the fundamental frequency, as a share of its mean.
        words_per_minute: Speaking rate.
        level_db: Level of the speech (root mean square), dB relative to full scale.
        tilt: Spectral balance of voice and microphone, dB per octave.
        breath_db: Level of the breath noise relative to the speech, dB.
        formant_percent: Frequencies of the formants, per cent of an average man's.
        style: How strongly this speaker uses each emotional cue; 1 is average.
    """

    pitch_hz: float
    pitch_span: float
    words_per_minute: float
    level_db: float
    tilt: float
    breath_db: float
    formant_percent: float
    style: Cues


def draw_speaker(gender: Literal["f", "m"], rng: np.random.Generator) -> Speaker:
    """Draws a speaker at random.

    Pitch and formants stay within usual ranges of adult women (165 to 245 Hz) and men (85 to
    150 Hz); women's vocal tracts are about 15 % shorter.

    Args:
        gender: `f` or `m`.
        rng: The speaker's own random numbers.

    Returns:
        The speaker.
    """
    low, high, formant_percent = {"f": (165, 245, 115), "m": (85, 150, 100)}[gender]
    return Speaker(
        pitch_hz=rng.uniform(low, high),
        pitch_span=rng.uniform(0.13, 0.22),
        words_per_minute=rng.uniform(165, 215),
        level_db=rng.normal(-32, 2),
        tilt=rng.normal(0, 0.6),
        breath_db=rng.normal(-34, 2),
        formant_percent=formant_percent + rng.uniform(-6, 6),
        style=Cues(*rng.lognormal(0, 0.2, len(Cues._fields)).tolist()),
    )
