"""RAVDESS speech (Livingstone & Russo 2018): English, 24 actors, 8 emotions."""

from pathlib import PurePath

from ser_nsl.corpora.layout import Clip, emotion_of, match_name

TITLE = "RAVDESS"
LICENCE = "CC BY-NC-SA 4.0"
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
EMOBOX_FOLDS = (
    ("01", "11", "20", "21"),
    ("04", "10", "12", "14"),
    ("08", "09", "19", "23"),
    ("03", "05", "07", "24"),
    ("02", "15", "16", "18"),
    ("06", "13", "17", "22"),
)
"""Actors who test in each fold of the EmoBox benchmark (arXiv 2406.07162)."""


def read_clip(path: PurePath) -> Clip:
    """Reads `modality-channel-emotion-intensity-statement-repetition-actor`, two digits each.

    Modality 03 is audio alone, channel 01 speech; channel 02 is song.
    """
    match = match_name(
        r"03-01-(\d\d)-\d\d-\d\d-\d\d-(\d\d)",
        path,
        "03-01-EE-II-SS-RR-AA of RAVDESS speech",
    )
    emotion, actor = match.groups()
    gender = "female" if int(actor) % 2 == 0 else "male"
    return Clip(path.stem, actor, gender, emotion_of(emotion, EMOTIONS, path))
