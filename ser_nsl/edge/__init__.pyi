from .adaptation import Adaptation
from .models import find_model
from .recognizer import FORMAT_VERSION, LABELS_NAME, RUNTIMES, SETTINGS_NAME, Recognizer
from .stream import Prediction, Stream
from .window import NO_SPEECH, NOT_SURE, Window, average

__all__ = [
    "Adaptation",
    "FORMAT_VERSION",
    "LABELS_NAME",
    "NOT_SURE",
    "NO_SPEECH",
    "Prediction",
    "RUNTIMES",
    "Recognizer",
    "SETTINGS_NAME",
    "Stream",
    "Window",
    "average",
    "find_model",
]
