"""Speech from espeak-ng, called in this process; the same request gives the same samples."""

import ctypes
import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_nsl.errors import InputError

SAMPLE_RATE_HZ = 22_050

# Constants of espeak-ng's `speak_lib.h`.
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_RATE, _VOLUME = 1, 2
_UTF8, _SSML = 1, 0x10

# Low enough that its automatic gain, whose state outlives a call, never has to act.
_VOLUME_PERCENT = 40

# Flutter and roughness follow counters that outlive a call and would make a clip depend on the
# clips before it, so both are off (flutter 0, roughness 8, above the last level, 7, that has a
# pattern). `voice_quality` adds such irregularities from a seed.
_VOICE = """\
name speaker
language {language}
tunes {tunes}
pitch {low:.0f} {high:.0f}
flutter 0
roughness 8
"""

# The intonation patterns (statement, comma, question, exclamation) of espeak-ng's own voices.
_TUNES = {"en": "s1 c1 q1 e1", "it": "s4 c4 q4 e4"}


@dataclass(frozen=True)
class Voice:
    """How espeak-ng speaks.

    Attributes:
        language: `en` or `it`.
        pitch_hz: Lower and upper limit of the fundamental frequency, Hz.
        words_per_minute: From 80 to 450.
        formant_percent: Frequencies of all formants, in per cent of espeak-ng's own (those of
            an adult man); a shorter vocal tract has higher ones.
    """

    language: str
    pitch_hz: tuple[float, float]
    words_per_minute: float
    formant_percent: float


def speak(markup: str, voice: Voice) -> np.ndarray:
    """Returns the speech of a text. Not thread-safe, as espeak-ng is not.

    Args:
        markup: Text, with SSML elements such as `<break time="200ms"/>`.
        voice: How to speak.

    Returns:
        float32, shape `(samples,)`, values in [-1, 1), 22,050 Hz.

    Raises:
        InputError: If espeak-ng is not installed.
    """
    library = _library()
    low, high = voice.pitch_hz
    tunes = _TUNES[voice.language]
    lines = _VOICE.format(language=voice.language, tunes=tunes, low=low, high=high)
    lines += "".join(f"formant {i} {voice.formant_percent:.0f}\n" for i in range(9))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "voice")
        path.write_text(lines)
        if library.espeak_SetVoiceByFile(os.fsencode(path)) != 0:
            raise RuntimeError(f"espeak-ng refused this voice:\n{lines}")
    library.espeak_SetParameter(_RATE, round(voice.words_per_minute), 0)
    library.espeak_SetParameter(_VOLUME, _VOLUME_PERCENT, 0)
    text = markup.encode() + b"\0"
    size = ctypes.c_size_t(len(text))
    _chunks.clear()
    if library.espeak_Synth(text, size, 0, 0, 0, _UTF8 | _SSML, None, None) != 0:
        raise RuntimeError(f"espeak-ng refused this text: {markup!r}")
    return np.concatenate(_chunks) / np.float32(32_768)


_chunks: list[np.ndarray] = []  # the speech of the current call; espeak-ng's state is global, too


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def _receive(samples: Any, count: int, events: Any) -> int:
    if samples and count:
        _chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0


@functools.cache
def _library() -> ctypes.CDLL:
    """The C library, initialised once."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise InputError(
            "The synthetic corpora need espeak-ng, which is not installed. "
            "Run, from the checkout: pip install '.[synthetic]'"
        ) from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = os.fsencode(espeakng_loader.get_data_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
    if rate != SAMPLE_RATE_HZ:
        raise InputError(
            f"espeak-ng must start at {SAMPLE_RATE_HZ} Hz; received {rate}, with the data in "
            f"{os.fsdecode(data)}. Run `pip install --force-reinstall espeakng-loader`."
        )
    library.espeak_SetSynthCallback(_receive)
    return library
