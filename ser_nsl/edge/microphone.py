"""The computer's microphone, through the optional package sounddevice."""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ser_nsl.errors import InputError

_CHUNK_SECONDS = 0.1


class Microphone(NamedTuple):
    """A microphone that records.

    Attributes:
        name: The device's name.
        sample_rate_hz: Sample rate of the chunks, the device's own.
        chunks: Chunks of 0.1 s for ever, float32 of shape `(samples, 1)`, each with whether audio
            before it was lost since nobody took it in time.
    """

    name: str
    sample_rate_hz: float
    chunks: Iterator[tuple[np.ndarray, bool]]


@contextlib.contextmanager
def open_microphone() -> Iterator[Microphone]:
    """Opens the microphone that the system's sound settings name.

    Yields:
        The microphone, which records until the context ends.

    Raises:
        InputError: If sounddevice, PortAudio or a microphone is missing, or if the microphone
            stops, as when it is unplugged.
    """
    sounddevice = _import_sounddevice()
    try:
        device = sounddevice.query_devices(kind="input")
        rate = device["default_samplerate"]
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as stream:
            chunks = iter(lambda: stream.read(round(_CHUNK_SECONDS * rate)), None)
            yield Microphone(device["name"], rate, chunks)
    except sounddevice.PortAudioError as error:
        raise InputError(
            f"microphone: cannot be used ({error}); connect one and choose it in the system's "
            "sound settings."
        ) from error


def _import_sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise InputError(
            "microphone: needs the package sounddevice; run `pip install sounddevice`."
        ) from error
    except Exception as error:  # OSError without PortAudio, PortAudioError where it cannot start
        raise InputError(
            f"microphone: sounddevice cannot work ({error}); on Debian, Ubuntu and Raspberry Pi OS "
            "run `apt install libportaudio2`."
        ) from error
    return sounddevice
