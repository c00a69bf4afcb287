"""The effects of emotions on a voice, after published acoustic correlates.

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

Calm is a mild, relaxed neutral, as in RAVDESS. The numbers are our own: simple, and chosen to
overlap widely.
"""

from typing import NamedTuple

import numpy as np


class Cues(NamedTuple):
    """Differences from a speaker's neutral voice; all are zero for neutral.

    Attributes:
        pitch: Mean of the fundamental frequency, semitones.
        pitch_range: Width of its movements, octaves (1 is twice as wide).
        rate: Speaking rate, octaves (1 is twice as fast).
        level: Loudness, dB.
        tilt: Spectral balance, dB per octave (positive is brighter, a tense voice).
        breath: Breath noise relative to the speech, dB above that of a modal voice.
        tremor: Slow variation of pitch and level, semitones.
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
"""Punctuation at the end, which shapes the melody; a full stop for other emotions."""

# How strongly a clip expresses its emotion; 1 is fully. The two kinds overlap.
_EXPRESSIVENESS = {False: (0.7, 1.1), True: (1.0, 1.4)}

# Standard deviation of each cue between clips of one emotion by one speaker.
_DEVIATION = Cues(0.8, 0.22, 0.06, 1.3, 0.55, 1.6, 0.07, 0.05, 1.0, 0.05)


def draw_cues(emotion: str, style: Cues, *, strong: bool, rng: np.random.Generator) -> Cues:
    """Draws the cues of one clip around its emotion's.

    Args:
        emotion: A key of `EMOTIONS`.
        style: How strongly the speaker uses each cue; 1 is average.
        strong: Whether the emotion is to be expressed strongly.
        rng: Random numbers of this clip.

    Returns:
        The cues; tremor, roughness and pause are never negative.
    """
    expressiveness = rng.uniform(*_EXPRESSIVENESS[strong])
    target = expressiveness * np.array(style) * np.array(EMOTIONS[emotion])
    drawn = Cues(*rng.normal(target, _DEVIATION).tolist())
    return drawn._replace(
        tremor=max(drawn.tremor, 0.0),
        roughness=max(drawn.roughness, 0.0),
        pause=max(drawn.pause, 0.0),
    )
