"""DEMoS (Parada-Cabaleiro et al. 2020): Italian, 68 speakers, 7 elicited emotions and neutral."""

from pathlib import PurePath

from ser_nsl.corpora.layout import Clip, emotion_of, match_name

TITLE = "DEMoS"
LICENCE = "research use, by signed agreement"
EMOTIONS = {
    "col": "guilt",
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}


def read_clip(path: PurePath) -> Clip:
    """Reads `(NP|PR)_gender_speaker_emotion+number+take`; neutral clips lack the first part."""
    match = match_name(
        r"(?:(?:NP|PR)_)?([fm])_(\d\d)_([a-z]{3})\d\d[a-z]", path, "PR_f_01_col01a of DEMoS"
    )
    gender, speaker, emotion = match.groups()
    gender = {"f": "female", "m": "male"}[gender]
    return Clip(path.stem, speaker, gender, emotion_of(emotion, EMOTIONS, path))
