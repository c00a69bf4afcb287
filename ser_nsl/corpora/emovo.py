"""EMOVO (Costantini et al. 2014): Italian, 6 actors, 6 emotions and neutral."""

from pathlib import PurePath

from ser_nsl.corpora.layout import Clip, emotion_of, match_name

TITLE = "EMOVO"
LICENCE = "research use"
EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}


def read_clip(path: PurePath) -> Clip:
    """Reads `emotion-speaker-sentence`, e.g. `dis-f1-b1`."""
    match = match_name(r"([a-z]{3})-([fm]\d)-[a-z]+\d*", path, "dis-f1-b1 of EMOVO")
    emotion, speaker = match.groups()
    gender = "female" if speaker.startswith("f") else "male"
    return Clip(path.stem, speaker, gender, emotion_of(emotion, EMOTIONS, path))
