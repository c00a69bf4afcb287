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
        name: Name of the device.
        sample_rate_hz: Sample rate of the chunks, which is the device's own.
        chunks: Endless chunks of 0.1 s, float32 of shape `(samples, 1)`, each with whether audio
            before it was lost because nothing read it in time.
    """

    name: str
    sample_rate_hz: float
    chunks: Iterator[tuple[np.ndarray, bool]]


@contextlib.contextmanager
def open_microphone() -> Iterator[Microphone]:
    """Opens the microphone that is chosen in the system's sound settings.

    Yields:
        The microphone, which records until the context ends.

    Raises:
        InputError: If sounddevice, PortAudio or a microphone is missing, or if the microphone
            stops, for example because it is unplugged.
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
    except Exception as error:  # also OSError without PortAudio, PortAudioError if it fails
        raise InputError(
            f"microphone: needs the package sounddevice ({error}); run `pip install sounddevice`, "
            "and on Debian, Ubuntu and Raspberry Pi OS `apt install libportaudio2`."
        ) from error
    return sounddevice
