"""Any folder with one subfolder per emotion: `anger/clip.wav` or `anger/speaker/clip.wav`."""

from pathlib import PurePath

from ser_nsl.corpora.layout import Clip
from ser_nsl.errors import InputError


def read_clip(path: PurePath) -> Clip:
    """Takes the emotion from the first folder and, where there is a second, the speaker."""
    if not 2 <= len(path.parts) <= 3:
        raise InputError(f"{path}: clips must lie at EMOTION/FILE or EMOTION/SPEAKER/FILE.")
    speaker = path.parts[1] if len(path.parts) == 3 else ""
    return Clip(path.with_suffix("").as_posix(), speaker, "", path.parts[0])
