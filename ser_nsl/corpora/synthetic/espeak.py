"""Speech from espeak-ng, called in this process; equal calls give equal samples."""

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

# Low enough that its automatic gain, whose state outlives a call, is never active.
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
    """A voice of espeak-ng.

    Attributes:
        language: `en` or `it`.
        pitch_hz: Lower and upper end of the fundamental frequency, Hz.
        words_per_minute: From 80 to 450.
        formant_percent: Frequencies of all formants, in per cent of espeak-ng's own (those of
            an adult man); higher for a shorter vocal tract.
    """

    language: str
    pitch_hz: tuple[float, float]
    words_per_minute: float
    formant_percent: float


class _Engine:
    """The C library with its one global state: initialised once, set before each call."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise InputError(
                "The synthetic corpora need espeak-ng, which is not installed. "
                "Run, from the checkout: pip install '.[synthetic]'"
            ) from error
        self._chunks: list[np.ndarray] = []
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
        if rate != SAMPLE_RATE_HZ:
            raise InputError(
                f"espeak-ng must start at {SAMPLE_RATE_HZ} Hz. Received: {rate}, with the data "
                f"in {os.fsdecode(data)}. Run `pip install --force-reinstall espeakng-loader`."
            )
        # The size of the text is not an int; ctypes converts the other arguments by itself.
        self._library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        receiver = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._receive = receiver(self._keep)  # espeak-ng keeps a bare pointer to it
        self._library.espeak_SetSynthCallback(self._receive)

    def _keep(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, markup: str, voice: Voice) -> np.ndarray:
        self._chunks.clear()
        self._load(voice)
        self._library.espeak_SetParameter(_RATE, round(voice.words_per_minute), 0)
        self._library.espeak_SetParameter(_VOLUME, _VOLUME_PERCENT, 0)
        text = markup.encode() + b"\0"
        flags = _UTF8 | _SSML
        if self._library.espeak_Synth(text, len(text), 0, 0, 0, flags, None, None) != 0:
            raise RuntimeError(f"espeak-ng refused this text: {markup!r}")
        return np.concatenate(self._chunks) / np.float32(32_768)

    def _load(self, voice: Voice) -> None:
        low, high = voice.pitch_hz
        lines = _VOICE.format(
            language=voice.language, tunes=_TUNES[voice.language], low=low, high=high
        ) + "".join(f"formant {i} {voice.formant_percent:.0f}\n" for i in range(9))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "voice")
            path.write_text(lines)
            if self._library.espeak_SetVoiceByFile(os.fsencode(path)) != 0:
                raise RuntimeError(f"espeak-ng refused this voice:\n{lines}")


@functools.cache
def _engine() -> _Engine:
    return _Engine()


def speak(markup: str, voice: Voice) -> np.ndarray:
    """Speaks a text; espeak-ng is for one thread at a time.

    Args:
        markup: Text, which may have SSML elements such as `<break time="200ms"/>`.
        voice: Voice of the speaker.

    Returns:
        float32, shape `(samples,)`, values in [-1, 1), 22,050 Hz.

    Raises:
        InputError: If espeak-ng is not installed.
    """
    return _engine().speak(markup, voice)
