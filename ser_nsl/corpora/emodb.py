"""EmoDB (Burkhardt et al. 2005): German, 10 actors, 6 emotions and neutral."""

from pathlib import PurePath

from ser_nsl.corpora.layout import Clip, emotion_of, match_name

TITLE = "EmoDB"
LICENCE = "free to use (CC0 according to its later publishers)"
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
_MALE_SPEAKERS = {"03", "10", "11", "12", "15"}  # not told by the file name


def read_clip(path: PurePath) -> Clip:
    """Reads speaker (2 characters), text (3), emotion (1) and version (1), e.g. `03a01Fa`."""
    match = match_name(r"(0[389]|1[0-6])[ab]\d\d([A-Z])[a-z]?", path, "03a01Fa of EmoDB")
    speaker, emotion = match.groups()
    gender = "male" if speaker in _MALE_SPEAKERS else "female"
    return Clip(path.stem, speaker, gender, emotion_of(emotion, EMOTIONS, path))
