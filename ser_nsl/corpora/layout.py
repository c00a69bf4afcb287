"""What a reader says of one clip, and the shape of a reader."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from ser_nsl.errors import InputError


@dataclass(frozen=True)
class Clip:
    """What a file's name and place say about it.

    Attributes:
        utterance_id: Unique in the corpus.
        speaker: Empty where unknown.
        gender: `female`, `male` or empty.
        emotion: Empty for a clip without a label.
    """

    utterance_id: str
    speaker: str
    gender: str
    emotion: str


Reader = Callable[[PurePath], Clip]
"""From a path relative to the audio root to a clip; raises `InputError` for a foreign name."""


def match_name(pattern: str, path: PurePath, form: str) -> re.Match:
    """Matches a file's stem with a corpus's naming scheme.

    Args:
        pattern: Regular expression for the whole stem.
        path: The clip.
        form: The scheme in words, for the error.

    Raises:
        InputError: If the stem does not match.
    """
    match = re.fullmatch(pattern, path.stem)
    if match is None:
        raise InputError(f"{path}: the name must have the form {form}.")
    return match


def emotion_of(code: str, emotions: dict[str, str], path: PurePath) -> str:
    """Looks an emotion code up.

    Raises:
        InputError: If the code is unknown.
    """
    if code not in emotions:
        raise InputError(f"{path}: unknown emotion {code!r}; known are {', '.join(emotions)}.")
    return emotions[code]
