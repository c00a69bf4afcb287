import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ser_nsl.edge.microphone import open_microphone
from ser_nsl.errors import InputError


class PortAudioError(Exception):
    """As sounddevice's own."""


class InputStream:
    """Records a second of samples that count, with a gap after the fourth chunk."""

    def __init__(self, *, samplerate: float, channels: int, dtype: str) -> None:
        assert (samplerate, channels, dtype) == (44_100.0, 1, "float32")
        self.recorded, self.open = 0, False

    def __enter__(self) -> "InputStream":
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        assert self.open
        if self.recorded >= 44_100:
            raise PortAudioError("Device unavailable")
        samples = np.arange(self.recorded, self.recorded + frames, dtype=np.float32)
        self.recorded += frames
        return samples[:, np.newaxis], self.recorded == 5 * frames


def query_devices(*, kind: str) -> dict:
    assert kind == "input"
    return {"name": "A microphone", "default_samplerate": 44_100.0}


@pytest.fixture
def sounddevice(monkeypatch) -> SimpleNamespace:
    module = SimpleNamespace(
        PortAudioError=PortAudioError, InputStream=InputStream, query_devices=query_devices
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def assert_refused(message: str) -> None:
    with pytest.raises(InputError, match=message), open_microphone():
        pass


def test_records_at_its_own_rate_until_it_stops(sounddevice):
    chunks = []
    with (
        pytest.raises(InputError, match=r"microphone: .*\(Device unavailable\)"),
        open_microphone() as microphone,
    ):
        assert (microphone.name, microphone.sample_rate_hz) == ("A microphone", 44_100)
        for chunk in microphone.chunks:
            chunks.append(chunk)

    assert [lost for _, lost in chunks] == [False] * 4 + [True] + [False] * 5
    recorded = np.concatenate([samples for samples, _ in chunks])
    assert recorded[:, 0].tolist() == list(range(44_100))


def test_no_microphone(sounddevice):
    def query_devices(**_):
        raise PortAudioError("Error querying device -1")

    sounddevice.query_devices = query_devices
    assert_refused(r"microphone: .*\(Error querying device -1\); connect one")


def test_no_sounddevice(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    assert_refused("microphone: needs the package sounddevice .*`pip install sounddevice`")


@pytest.mark.parametrize("error", ["OSError", "type('PortAudioError', (Exception,), {})"])
def test_no_portaudio(monkeypatch, tmp_path, error):
    (tmp_path / "sounddevice.py").write_text(f"raise {error}('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    assert_refused(r"\(PortAudio library not found\); .*libportaudio2")
