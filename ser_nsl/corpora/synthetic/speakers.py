"""Speakers: female and male variants of one synthetic voice."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ser_nsl.corpora.synthetic.emotions import Cues


@dataclass(frozen=True)
class Speaker:
    """One speaker's neutral voice and manner.

    Attributes:
        gender: `f` or `m`.
        pitch_hz: Mean fundamental frequency, Hz.
        pitch_span: Range of its movements to either side, as a share of the mean.
        words_per_minute: Speaking rate.
        level_db: Level of the speech, dB of full scale (root mean square).
        tilt: Spectral balance of voice and microphone, dB per octave.
        breath_db: Breath noise relative to the speech, dB.
        formant_percent: Frequencies of the formants, per cent of an average man's.
        style: How strongly this speaker uses each emotional cue; 1 is average.
    """

    gender: Literal["f", "m"]
    pitch_hz: float
    pitch_span: float
    words_per_minute: float
    level_db: float
    tilt: float
    breath_db: float
    formant_percent: float
    style: Cues


def draw_speaker(gender: Literal["f", "m"], rng: np.random.Generator) -> Speaker:
    """Draws a speaker.

    Pitch and formants stay within usual ranges of adult women (165 to 245 Hz) and men (85 to
    150 Hz); women's vocal tracts are about 15 % shorter.

    Args:
        gender: `f` or `m`.
        rng: Random numbers of this speaker.

    Returns:
        The speaker.
    """
    low, high = {"f": (165, 245), "m": (85, 150)}[gender]
    tract = {"f": 115, "m": 100}[gender]
    return Speaker(
        gender=gender,
        pitch_hz=rng.uniform(low, high),
        pitch_span=rng.uniform(0.13, 0.22),
        words_per_minute=rng.uniform(165, 215),
        level_db=rng.normal(-32, 2),
        tilt=rng.normal(0, 0.6),
        breath_db=rng.normal(-34, 2),
        formant_percent=tract + rng.uniform(-6, 6),
        style=Cues(*rng.lognormal(0, 0.2, len(Cues._fields)).tolist()),
    )
